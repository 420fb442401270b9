"""The order of the versions of Lineside: numbers, and the suffixes of PEP 440."""

from __future__ import annotations

import re

_VERSION = re.compile(r"(\d{1,9}(?:\.\d{1,9}){0,9})(?:[.-]?(dev|a|b|rc|post)(\d{0,9}))?(?:\+.*)?")

_PHASES = {"dev": 0, "a": 1, "b": 2, "rc": 3, None: 4, "post": 5}


def is_older(version: str, than: str) -> bool:
    """Return whether a version comes before another. Raises `ValueError` for a text that is not a version."""
    return _key(version) < _key(than)


def _key(version: str) -> tuple[list[int], int, int]:
    found = _VERSION.fullmatch(version)
    if found is None:
        raise ValueError(f"{version[:100]!r} is not a version, as in 0.2.0")
    numbers = list(map(int, found[1].split(".")))
    while numbers and not numbers[-1]:
        numbers.pop()
    return numbers, _PHASES[found[2]], int(found[3] or 0)
