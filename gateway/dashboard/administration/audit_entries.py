"""Entries of the audit log that match a search, the newest first, page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from gateway.audit.newest_first import entries_newest_first
from gateway.common.text import printable
from gateway.dashboard.security.gate import DONE

if TYPE_CHECKING:
    from pathlib import Path

MOST_READ = 20_000
"""Entries that a request reads; the reader goes on from there."""

_TEXTS = ("who", "from", "action", "object", "outcome")


class Search(NamedTuple):
    """A search: words that are all in an entry, and whether only deeds that were not done are meant.

    `before` is the number of the entry to go on from, None for the newest.
    """

    words: tuple[str, ...]
    not_done: bool
    before: int | None
    limit: int

    def takes(self, shown: dict[str, Any]) -> bool:
        """Return whether an entry matches."""
        if self.not_done and shown["outcome"] == DONE:
            return False
        text = "\n".join(str(shown[name]) for name in (*_TEXTS, "before", "after")).casefold()
        return all(word in text for word in self.words)


def found_entries(folder: Path, search: Search) -> dict[str, Any]:
    """Return a page of entries. Raises `OSError`.

    `next` is the number to go on from, None at the begin of the log; `unreadable` counts lines that are not entries.
    """
    entries: list[dict[str, Any]] = []
    unreadable, last = 0, None
    for number, entry in enumerate(entries_newest_first(folder, search.before)):
        if len(entries) >= search.limit or number >= MOST_READ:
            return {"entries": entries, "next": last, "unreadable": unreadable}
        if entry is None:
            unreadable += 1
            continue
        last = entry["n"]
        if search.takes(shown := _shown(entry)):
            entries.append(shown)
    return {"entries": entries, "next": None, "unreadable": unreadable}


def _shown(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry for a reader: one line a text, whatever somebody has written into the file."""
    texts = {name: printable(entry[name]) for name in _TEXTS}
    return (
        {"n": entry["n"], "time": entry["time"]} | texts | {name: _plain(entry[name]) for name in ("before", "after")}
    )


def _plain(value: object) -> str:
    """Return an object before or after a deed as text, empty if there was none."""
    if value is None:
        return ""
    return printable(value if isinstance(value, str) else orjson.dumps(value).decode())
