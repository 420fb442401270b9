"""The text of a message about one alarm or many. Pure.

Texts of alarms may come from devices. They become one line each, without characters that steer a terminal or begin a
header, and without what chats and mail readers take for markup or for a mention of all members.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from gateway.common.text import counted
from gateway.settings.alarm_set import Priority

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo

    from gateway.model.alarm_notice import AlarmNotice

DETAILED = 5
"""Alarms of a message that are described as a whole."""

LISTED = 20
"""Further alarms that have a line; the others are counted."""

MAX_TITLE = 150
MAX_LINE = 600
"""Characters."""

_NOT_SHOWN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Categories of Unicode that become a blank: controls, formats such as those of direction, separators of lines."""

_MARKUP = re.compile(r"([<@])(?=[\w!@#/?&])")
"""The beginning of a tag (`<b`), of a mention (`@all`, `<!here`) or of a link."""


class Message(NamedTuple):
    """A message. `kind` is `info`, `warning` or `failure`, which services show as a colour or a picture."""

    title: str
    body: str
    kind: str


def plain(text: str, most: int = MAX_LINE) -> str:
    """Return a text of others as one harmless line of `most` characters."""
    shown = "".join(" " if unicodedata.category(one) in _NOT_SHOWN else one for one in text[: 4 * most])
    shown = _MARKUP.sub(r"\1 ", " ".join(shown.split()))
    return shown if len(shown) <= most else f"{shown[: most - 3]}..."


def message_of(notices: Sequence[AlarmNotice], left_out: int, gateway: str, zone: tzinfo | None = UTC) -> Message:
    """Return the message about alarms, the most important first; `left_out` are those that there was no room for.

    `zone` is that of the times, None for that of this machine.
    """
    ordered = sorted(notices, key=lambda one: (one.priority, one.since, one.machine, one.alarm))
    first = ordered[0]
    kind = "failure" if first.priority <= Priority.HIGH else "warning"
    if len(ordered) == 1 and not left_out:
        machine = first.machine.rpartition("/")[2]
        title = f"{first.priority.shown.capitalize()}: {machine} {first.alarm}"
        if first.message:
            title += f": {first.message}"
        return Message(plain(title, MAX_TITLE), "\n".join([*_details(first, zone), "", _from(gateway)]), kind)
    numbers = Counter(one.priority for one in ordered)
    sums = ", ".join(f"{numbers[one]:,} {one.shown}" for one in sorted(numbers))
    lines = [f"{counted(len(ordered), 'alarm')}: {sums}.", ""]
    for one in ordered[:DETAILED]:
        lines += [*_details(one, zone), ""]
    listed = ordered[DETAILED : DETAILED + LISTED]
    lines += [plain(f"{one.priority.shown}: {one.machine} {one.alarm} {one.message}", 200) for one in listed]
    if more := len(ordered) - DETAILED - len(listed):
        lines.append(f"and {more:,} more")
    if left_out:
        lines.append(f"{counted(left_out, 'further alarm')} of lower priority had no room and were left out")
    title = f"{counted(len(ordered) + left_out, 'alarm')} ({sums}): {first.machine.rpartition('/')[2]} {first.alarm}"
    return Message(plain(title, MAX_TITLE), "\n".join([*lines, "", _from(gateway)]), kind)


def test_message(gateway: str, target: str) -> Message:
    """Return the message that tries a target out."""
    body = f"This is a test of the target {target}. Nothing is wrong.\n\n{_from(gateway)}"
    return Message(f"Test: notification of {plain(gateway)}", body, "info")


def _details(one: AlarmNotice, zone: tzinfo | None) -> list[str]:
    since = _clock_time(one.since, zone)
    waited = f", not acknowledged for {_span(one.step.after)}" if one.step.after else ""
    lines = [
        plain(f"{one.priority.shown.upper()}: {one.machine}"),
        plain(f"Alarm: {one.alarm} ({one.category})"),
        f"Since: {since}{waited}",
    ]
    texts = (("Text", one.message), ("Consequence", one.consequence), ("Response", one.response))
    return lines + [plain(f"{name}: {text}") for name, text in texts if text.strip()]


def _clock_time(microseconds: int, zone: tzinfo | None) -> str:
    try:
        return datetime.fromtimestamp(microseconds // 1_000_000, UTC).astimezone(zone).isoformat(" ", "seconds")
    except (OverflowError, ValueError):  # servers send the end of the year 9999 where they know no time
        return "unknown, the time of the reading is wrong"


def _from(gateway: str) -> str:
    return plain(f"Gateway {gateway}")


def _span(seconds: float) -> str:
    """Return a length of time as it is written in a configuration."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"
