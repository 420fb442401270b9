"""Text of reports for people."""

from __future__ import annotations


def counted(number: int, thing: str) -> str:
    """Return `1 machine`, `2 machines`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
