"""`--set gateway.id=edge-07`: a value of the command line in place of that of a factory's file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.settings.document import read_text
from gateway.settings.scalars import resolve

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.settings.document import Document, Step

_YAML = frozenset("{['\"")
"""How a value begins that is more than a plain scalar."""


class Override(NamedTuple):
    """A key of a factory's main file as a dotted path, and the text of its value."""

    key: str
    text: str

    @property
    def origin(self) -> str:
        """How a message names it: without its value, which may be a secret in the wrong place."""
        return f"--set {self.key}"

    @property
    def value(self) -> Any:  # noqa: ANN401 - what a user wrote
        """The value, typed as a plain scalar of YAML, or as a mapping, list or text in quotes."""
        return read_text(self.text) if self.text[:1] in _YAML else resolve(self.text)


def parse_override(written: str) -> Override:
    """Parse `gateway.id=edge-07`. Raises `ValueError`."""
    key, equals, text = written.partition("=")
    key = key.strip()
    if not equals or not all(_parts(key)):
        raise ValueError("write KEY=VALUE with a path of keys, as in gateway.id=edge-07")
    found = Override(key, text.strip())
    try:
        _ = found.value
    except ValueError:
        # the value is not repeated: it may be a secret in the wrong place
        raise ValueError(f"the value of {key} is not YAML; put it in quotes, as in {key}='\"VALUE\"'") from None
    return found


def _parts(key: str) -> list[str]:
    """Split a path at its dots, which in braces are those of a range: `machines.press-{01..24}.template`."""
    return re.split(r"\.(?![^{}]*\})", key)


def apply(document: Document, overrides: Iterable[Override]) -> None:
    """Put values into a factory's main file; those that have no place there are reported."""
    for one in overrides:
        place: Any = document.data
        *above, last = path = tuple(_steps(place, one.key))
        new = path
        for at, step in enumerate(above):
            inner = _inner(place, step)
            if inner is None and isinstance(place, dict):
                inner = place[step] = {}
                new = min(new, path[: at + 1], key=len)
            if not isinstance(inner, dict | list):
                document.report(above[: at + 1], f"is a single value and has no keys (from {one.origin})")
                break
            place = inner
        else:
            if not _put(place, last, one.value):
                document.report(above, f"is a list without an entry {last} (from {one.origin})")
                continue
            document.override(path, new, one.value, one.text, one.origin)


def _steps(data: Any, key: str) -> list[Step]:  # noqa: ANN401 - what a user wrote
    """Split a dotted path; a key of the file that has dots itself is one step."""
    parts = _parts(key)
    steps: list[Step] = []
    while parts:
        count = 1
        if isinstance(data, dict):
            lengths = range(len(parts), 0, -1)
            count = next((n for n in lengths if ".".join(parts[:n]) in data), 1)
        text = ".".join(parts[:count])
        step: Step = int(text) if isinstance(data, list) and text.isdecimal() else text
        steps.append(step)
        parts = parts[count:]
        data = _inner(data, step)
    return steps


def _inner(data: Any, step: Step) -> Any:  # noqa: ANN401 - what a user wrote
    if isinstance(data, dict):
        return data.get(step)
    if isinstance(data, list) and isinstance(step, int) and step < len(data):
        return data[step]
    return None


def _put(place: Any, step: Step, value: Any) -> bool:  # noqa: ANN401 - what a user wrote
    """Set one value; returns whether there is a place for it."""
    if isinstance(place, list):
        if not isinstance(step, int) or step > len(place):
            return False
        place[step : step + 1] = [value]
        return True
    place[step] = value
    return True
