"""The machines that each gateway may publish for, as patterns of their paths."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from gateway.model.path import MachinePath

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_CACHED = 100_000
"""Pairs of a gateway and a machine whose result is cached."""


class MachinePatterns:
    """The patterns of gateways by id; false if there are none.

    A pattern is `area/line/machine`, or with enterprise and site before it; `*` and `?` stand for characters of a
    level.
    """

    def __init__(
        self, gateways: Mapping[str, Iterable[str]] | None = None, place: tuple[str, str] = ("*", "*")
    ) -> None:
        """Prepare; `place` is the enterprise and the site of patterns without them."""
        self._patterns = {
            gateway: [tuple(full_pattern(one, *place).split("/")) for one in patterns]
            for gateway, patterns in (gateways or {}).items()
        }
        self._known: dict[tuple[str, MachinePath], bool] = {}

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def match(self, gateway: str, path: MachinePath) -> bool:
        """Return whether a pattern of a gateway matches a machine."""
        key = gateway, path
        known = self._known.get(key)
        if known is None:
            known = any(all(map(fnmatchcase, path, levels)) for levels in self._patterns.get(gateway, ()))
            if len(self._known) < MAX_CACHED:
                self._known[key] = known
        return known

    def gateways_of(self, path: MachinePath) -> list[str]:
        """Return the gateways that a pattern gives a machine to."""
        return [gateway for gateway in self._patterns if self.match(gateway, path)]


def full_pattern(pattern: str, enterprise: str, site: str) -> str:
    """Return a pattern from the enterprise on."""
    full = pattern.count("/") + 1 == len(MachinePath._fields)
    return pattern if full else f"{enterprise}/{site}/{pattern}"
