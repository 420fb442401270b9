"""Many machines in one key: `press-{01..24}` is `press-01` to `press-24`."""

from __future__ import annotations

import re
from typing import NamedTuple

from gateway.common.setting_types import check_name

MOST = 10_000
"""Machines in the range of one key."""

_BRACES = re.compile(r"([^{}]*)\{([^{}]*)\}([^{}]*)")
_SPAN = re.compile(r"\s*(\d{1,9})(?:\s*\.\.\s*(\d{1,9}))?\s*")


class Numbered(NamedTuple):
    """One machine of a key, and its number in the range; a plain name has no number."""

    name: str
    number: int | None


def machines_of(key: str) -> list[Numbered]:
    """Return the machines that a key stands for: one, or those of `press-{01..24}` or `press-{01..06,08}`.

    Numbers have as many digits as the first of their span. Raises `ValueError` for any other key.
    """
    if "{" not in key and "}" not in key:
        return [Numbered(check_name(key), None)]
    match = _BRACES.fullmatch(key)
    if not match:
        raise ValueError(f"{key!r} has more than one pair of braces, or half of one; write press-{{01..24}}")
    found: dict[str, Numbered] = {}
    for span in match[2].split(","):
        for number, digits in _numbers(key, span):
            name = f"{match[1]}{number:0{digits}d}{match[3]}"
            if name in found:
                raise ValueError(f"{key!r} names {name} twice")
            found[name] = Numbered(name, number)
            if len(found) > MOST:
                raise ValueError(f"{key!r} stands for more than {MOST} machines")
    check_name(next(iter(found)))
    return list(found.values())


def _numbers(key: str, span: str) -> list[tuple[int, int]]:
    match = _SPAN.fullmatch(span)
    if not match:
        raise ValueError(f"{key!r} has no range in its braces; write press-{{01..24}}, or press-{{01..06,08}}")
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first:
        raise ValueError(f"{key!r} counts down; write the lower number first")
    return [(number, len(match[1])) for number in range(first, min(last, first + MOST) + 1)]
