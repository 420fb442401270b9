"""The functions of derived points that keep a state from one reading to the next.

Each is stepped when an input of its argument was read, with the argument's value and the time of that reading in
microseconds. States are bounded, and are lists of numbers that can be written as JSON.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any

from drivers.base import Reason

if TYPE_CHECKING:
    from drivers.base import Value
    from gateway.settings.expressions.program import Step

State = list[Any]
"""A state as JSON has it."""

MOST = 2**62
"""The largest total: a store's integers end at twice as much."""

BUCKETS = 60
"""Parts of the time that `min_over`, `max_over` and `mean_over` look back: readings of one part are kept together."""

LONGEST_HELD = 366 * 86_400 * 1_000_000
"""Microseconds for which a pushed value can hold; a longer time is that of a clock that was set, as from 1970."""


class Failed(ArithmeticError):
    """A function has no value for this reading."""

    def __init__(self, reason: Reason, text: str) -> None:
        self.reason, self.text = reason, text
        super().__init__(text)


class StepFunction(ABC):
    """A function with a state. `settings` are its constant arguments, `gap` is that of `Step`, in microseconds."""

    def __init__(self, settings: tuple[float, ...], gap: int) -> None:
        self.settings = settings
        self.gap = gap

    @abstractmethod
    def step(self, value: Any, time: int) -> Any:  # noqa: ANN401 - of the argument's type
        """Return the result at a reading, None if there is none yet. Raises `Failed`."""

    def miss(self) -> None:  # noqa: B027 - most functions go on from the last value
        """Note that the argument has no value now."""

    @abstractmethod
    def save(self) -> State:
        """Return the state."""

    @abstractmethod
    def load(self, state: State) -> None:
        """Continue with a state. Raises `ValueError` or `TypeError` for one that `save` did not return."""

    def is_known(self, since: int) -> bool:
        """Return whether the argument counts as known in the time between two readings."""
        return 0 < since <= (self.gap or LONGEST_HELD)


class _OfLast(StepFunction):
    """A function of the last value and its time."""

    def __init__(self, settings: tuple[float, ...], gap: int) -> None:
        super().__init__(settings, gap)
        self.last: Any = None
        self.time = 0

    def save(self) -> State:
        return [self.last, self.time]

    def load(self, state: State) -> None:
        last, time = state
        if not (last is None or isinstance(last, bool | int | float | str)) or type(time) is not int:
            raise TypeError("not a value and its time")
        self.last, self.time = last, time


class Rate(_OfLast):
    """The change in a second."""

    def step(self, value: float, time: int) -> float | None:
        last, since = self.last, time - self.time
        self.last, self.time = value, time
        if last is None:
            return None
        if since <= 0:
            raise Failed(Reason.CLOCK, "the time of its input went back")
        return float((value - last) * 1_000_000 / since)


class Difference(_OfLast):
    """The change since the last reading."""

    def step(self, value: float, time: int) -> float | None:
        last: float | None = self.last
        self.last, self.time = value, time
        return None if last is None else value - last


class Previous(_OfLast):
    """The value of the reading before."""

    def step(self, value: Value, time: int) -> Value | None:
        last: Value | None = self.last
        self.last, self.time = value, time
        return last


class Filtered(_OfLast):
    """A first-order low pass: a step is followed to 63 % in the time of the settings."""

    def step(self, value: float, time: int) -> float:
        since = time - self.time
        if self.last is None or since < 0:
            self.last = float(value)
        else:
            self.last = _finite(self.last + (value - self.last) * -math.expm1(-since / (self.settings[0] * 1e6)))
        self.time = time
        return float(self.last)


class Total(StepFunction):
    """A counter that wraps or is reset, as a number that never falls; see `gateway.pipeline.totals`."""

    def __init__(self, settings: tuple[float, ...], gap: int) -> None:
        super().__init__(settings, gap)
        size = settings[0]
        self._size: float = int(size) if float(size).is_integer() else size
        self._last: float = 0
        self._added: float = 0

    def step(self, value: float, time: int) -> float:
        del time
        size = self._size
        if value < 0 or (size and value >= size):
            below = f" that begins again at {size:g}" if size else ""
            raise Failed(Reason.OUT_OF_RANGE, f"{value:g} is not a count of a counter{below}")
        if value < self._last:
            wrapped = size and 4 * self._last >= 3 * size and 4 * value < size
            self._added += size if wrapped else self._last
        self._last = value
        if self._added + value > MOST:
            raise Failed(Reason.OVERFLOW, f"{self._added + value:g}")
        return self._added + value

    def save(self) -> State:
        return [self._last, self._added]

    def load(self, state: State) -> None:
        self._last, self._added = _numbers(state, 2)


class _Sum(_OfLast):
    """A sum over time; it goes on with the next value where the argument has none."""

    sum: float = 0

    def miss(self) -> None:
        self.last = None

    def save(self) -> State:
        return [self.last, self.time, self.sum]

    def load(self, state: State) -> None:
        super().load(state[:2])
        [self.sum] = _numbers(state[2:], 1)
        if not self.gap:  # nobody knows how long a pushed point had its value
            self.last = None


class Integral(_Sum):
    """The area below the values, by trapezoids, in seconds."""

    def step(self, value: float, time: int) -> float:
        since = time - self.time
        if self.last is not None and self.is_known(since):
            self.sum = _finite(self.sum + (value + self.last) / 2 * (since / 1e6))
        self.last, self.time = value, time
        return float(self.sum)


class TimeIn(_Sum):
    """The seconds for which a condition was true; the sum is in microseconds."""

    def step(self, value: bool, time: int) -> float:  # noqa: FBT001 - a value
        since = time - self.time
        if self.last is True and self.is_known(since):
            self.sum += since
        self.last, self.time = value, time
        return self.sum / 1e6


class Edges(StepFunction):
    """How often a condition became true."""

    def __init__(self, settings: tuple[float, ...], gap: int) -> None:
        super().__init__(settings, gap)
        self._last: bool | None = None
        self._count = 0

    def step(self, value: bool, time: int) -> int:  # noqa: FBT001 - a value
        del time
        self._count += self._last is False and value is True
        self._last = value
        return self._count

    def save(self) -> State:
        return [self._last, self._count]

    def load(self, state: State) -> None:
        last, count = state
        if last not in {None, False, True} or type(count) is not int:
            raise TypeError("not a condition and a count")
        self._last, self._count = last, count


class _Over(StepFunction):
    """A function of the readings of a time, in parts: number of the part, readings, lowest, highest, sum."""

    def __init__(self, settings: tuple[float, ...], gap: int) -> None:
        super().__init__(settings, gap)
        self._width = max(1, round(settings[0] * 1e6 / BUCKETS))
        self.parts: deque[list[Any]] = deque(maxlen=BUCKETS)

    def step(self, value: float, time: int) -> float:
        number = time // self._width
        if self.parts and self.parts[-1][0] > number:  # the clock was set back
            self.parts.clear()
        while self.parts and self.parts[0][0] <= number - BUCKETS:
            self.parts.popleft()
        if self.parts and self.parts[-1][0] == number:
            part = self.parts[-1]
            part[1] += 1
            part[2], part[3], part[4] = min(part[2], value), max(part[3], value), part[4] + value
            # the sum is a float: one of large ints would be more than JSON can have
        else:
            self.parts.append([number, 1, value, value, float(value)])
        return self.result()

    @abstractmethod
    def result(self) -> float:
        """Return the result over all parts."""

    def save(self) -> State:
        return list(self.parts)

    def load(self, state: State) -> None:
        parts = [_numbers(part, 5) for part in state]
        self.parts.clear()
        self.parts.extend(parts)


class MinOver(_Over):
    """The lowest value of a time."""

    def result(self) -> float:
        lowest: float = min(part[2] for part in self.parts)
        return lowest


class MaxOver(_Over):
    """The highest value of a time."""

    def result(self) -> float:
        highest: float = max(part[3] for part in self.parts)
        return highest


class MeanOver(_Over):
    """The mean of the readings of a time."""

    def result(self) -> float:
        return float(math.fsum(part[4] for part in self.parts) / sum(part[1] for part in self.parts))


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise Failed(Reason.OVERFLOW, "larger than a float can be")
    return value


def _numbers(state: State, wanted: int) -> list[Any]:
    if len(state) != wanted or not all(type(one) in {int, float} and math.isfinite(one) for one in state):
        raise ValueError("not numbers")
    return list(state)


FUNCTIONS: dict[str, type[StepFunction]] = {
    "rate": Rate, "difference": Difference, "previous": Previous, "filtered": Filtered, "total": Total,
    "integral": Integral, "time_in": TimeIn, "edges": Edges, "min_over": MinOver, "max_over": MaxOver,
    "mean_over": MeanOver,
}  # fmt: skip
"""The functions with a state by their names in expressions."""


def make(step: Step) -> StepFunction:
    """Return a function without a state yet."""
    return FUNCTIONS[step.function](step.settings, round(step.gap * 1_000_000))
