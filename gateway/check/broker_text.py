"""The rights that were tried at a broker, as lines of text: the unexpected attempts first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.check.broker import Outcome
from gateway.common.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.check.broker import Attempt


def broker_lines(attempts: Sequence[Attempt]) -> Iterator[str]:
    """Yield a line for each attempt, and the sum."""
    for one in sorted(attempts, key=lambda one: not one.unexpected):
        mark = f"UNEXPECTED {one.outcome.value}" if one.unexpected else one.outcome.value
        yield f"{mark:<19} {one.kind:<9} {one.target}" + (f"  ({one.detail})" if one.detail else "")
    unexpected = [one for one in attempts if one.unexpected]
    unknown = sum(one.outcome is Outcome.UNKNOWN for one in attempts)
    yield ""
    if not unexpected:
        yield f"{counted(len(attempts), 'attempt')}, {unknown} unknown: the broker allows and refuses as it should"
        return
    allowed = sum(one.outcome is Outcome.ALLOWED for one in unexpected)
    wrong = f"{allowed} should be refused, {len(unexpected) - allowed} should be allowed"
    yield f"{counted(len(attempts), 'attempt')}, {unknown} unknown: {wrong}; `lineside acl` writes the rights"
