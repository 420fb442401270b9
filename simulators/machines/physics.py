"""Building blocks of machine models. Times are in seconds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random


class Lag:
    """A first-order lag, exact for any step size.

    `sigma` is the standard deviation of the sensor's noise, which `read` adds. Within `still` of its target the value
    is set to the target, like a drive with a brake.
    """

    def __init__(self, value: float, tau: float, rng: Random, sigma: float = 0.0, still: float = 0.0) -> None:
        self.value = value
        self._still = still
        self.tau = tau
        self._rng = rng
        self._sigma = sigma

    def follow(self, target: float, dt: float, tau: float | None = None) -> float:
        """Approach `target` for `dt` seconds; `tau` replaces the time constant if given."""
        distance = (self.value - target) * math.exp(-dt / (tau or self.tau))
        self.value = target + distance if abs(distance) > self._still else target
        return self.value

    def read(self) -> float:
        """Return the value with the sensor's noise."""
        return self.value + self._rng.gauss(0.0, self._sigma) if self._sigma else self.value


class MeanRevertingNoise:
    """An Ornstein-Uhlenbeck process about a mean: ambient conditions, supplies, feed stock."""

    def __init__(self, mean: float, sigma: float, tau: float, rng: Random) -> None:
        self.mean = mean
        self.value = mean
        self._sigma = sigma
        self._tau = tau
        self._rng = rng

    def step(self, dt: float) -> float:
        """MeanRevertingNoise for `dt` and return the value."""
        keep = math.exp(-dt / self._tau)
        spread = self._sigma * math.sqrt(1.0 - keep * keep)
        self.value = self.mean + (self.value - self.mean) * keep + self._rng.gauss(0.0, spread)
        return self.value


def arrhenius(celsius: float, reference: float, activation: float) -> float:
    """Return how much faster a reaction runs than at the reference temperature.

    `activation` in J/mol, temperatures in degrees Celsius.
    """
    gas_constant = 8.314
    return math.exp(activation / gas_constant * (1 / (reference + 273.15) - 1 / (celsius + 273.15)))
