"""Problems of a configuration as text: `file:line:column: path: message`, with the line that each is in."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from gateway.cli.excerpt import Excerpts
from gateway.cli.output import echo
from gateway.settings.problems import LONGEST_MESSAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.settings.problems import Problem

SAME_MESSAGES = 5
"""Problems with the same message that are printed."""

MOST_PROBLEMS = 100
"""Problems that are printed."""


def print_problems(problems: Sequence[Problem]) -> None:
    """Print problems: of the same message the first few, and no more than a person reads."""
    same: Counter[str] = Counter()
    shown, excerpts = 0, Excerpts()
    for problem in problems:
        same[problem.message] += 1
        if same[problem.message] > SAME_MESSAGES or shown == MOST_PROBLEMS:
            continue
        shown += 1
        echo(str(problem), err=True)
        for line in excerpts.of(problem):
            echo(line, err=True)
    repeated = 0
    for message, count in same.items():
        if count > SAME_MESSAGES and repeated < MOST_PROBLEMS:
            repeated += 1
            echo(f"{count - SAME_MESSAGES:,} more: {message[:LONGEST_MESSAGE]}", err=True)
    if shown == MOST_PROBLEMS < len(problems):
        echo(
            f"the first {shown} of {len(problems):,} problems are shown; --format json of validate has all", err=True
        )
