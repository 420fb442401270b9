"""Digests of configurations: SHA-256, 64 hexadecimal digits. Versions before had the first 12 of them alone."""

from __future__ import annotations

SHOWN = 16
"""Digits in a table for people; programs and comparisons have all."""

_EARLIER = 12


def same_digest(one: str, other: str) -> bool:
    """Return whether two digests are of one configuration; one may be of an earlier version, with its 12 digits.

    The result says which file a service runs, and proves nothing about the file. A signature does.
    """
    short, long = sorted((one, other), key=len)
    return short == long or (len(short) == _EARLIER and long.startswith(short))


def short_digest(digest: str) -> str:
    """Return the beginning of a digest, for a table."""
    return digest[:SHOWN]
