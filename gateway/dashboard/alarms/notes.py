"""What operators note of alarms on the page: acknowledged, or shelved for a time (ISA-18.2, 11.7).

A note changes nothing at the machine: it is shared by all pages of this service, and kept in a file beside its data.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.common.atomic_file import JsonEntries

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.dashboard.live.alarms import Alarm
NOTES = 5_000
"""Notes that are kept; the oldest make room."""

MAX_COMMENT, MAX_NAME, MAX_KEY = 500, 200, 2_000
"""Characters of a comment, of a name, and of the identity of an alarm."""

SHORTEST_SHELF, LONGEST_SHELF = 60, 7 * 86_400
"""Seconds for which an alarm can be shelved."""


class Note(BaseModel):
    """A note of one alarm. Times are in microseconds since the epoch, UTC.

    `since` is that of the alarm which was acknowledged: the next time it becomes active it needs attention again.
    `until` is when a shelved alarm comes back.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Literal["acknowledged", "shelved"]
    path: Annotated[str, Field(max_length=MAX_KEY)]
    key: Annotated[str, Field(max_length=MAX_KEY)]
    who: Annotated[str, Field(max_length=MAX_NAME)]
    at: int
    comment: Annotated[str, Field(max_length=MAX_COMMENT)]
    since: int = 0
    until: int = 0

    @property
    def place(self) -> tuple[tuple[str, ...], str]:
        """The place of its alarm."""
        return tuple(self.path.split("/")), self.key


class AlarmNotes:
    """The notes of all alarms. `version` grows with each change. Without a file they last as long as the service."""

    def __init__(self, file: Path | None = None) -> None:
        """Read the file, if there is one; one that is damaged is logged and replaced at the next note."""
        self.version = 0
        self._notes: OrderedDict[tuple[tuple[str, ...], str], Note] = OrderedDict()
        self._entries = None if file is None else JsonEntries(file)
        if self._entries is not None:
            self._read(self._entries)

    def _read(self, entries: JsonEntries) -> None:
        for name, content in entries.load().items():
            try:
                note = Note.model_validate(content)
            except ValidationError as error:
                entries.unreadable(error)
                entries.remove(name)
            else:
                self._notes[note.place] = note

    def of(self, alarm: Alarm, now: int) -> Note | None:
        """Return the note that holds for an alarm now; None where it ended or there is none."""
        note = self._notes.get(alarm.place)
        if note is None:
            return None
        if note.kind == "shelved":
            return note if now < note.until else None
        return note if note.since == alarm.since else None

    def set(self, note: Note) -> Note | None:
        """Note something; return the note that it replaces."""
        before = self._notes.pop(note.place, None)
        self._notes[note.place] = note
        if self._entries is not None:
            self._entries.set(_name(note.place), note.model_dump_json().encode())
        while len(self._notes) > NOTES:
            self.remove(next(iter(self._notes)))
        self.version += 1
        return before

    def remove(self, place: tuple[tuple[str, ...], str]) -> Note | None:
        """Remove the note of an alarm, given as the levels of its path and its key; return it."""
        note = self._notes.pop(place, None)
        if note is not None and self._entries is not None:
            self._entries.remove(_name(place))
        self.version += note is not None
        return note

    def expire(self, now: int) -> list[Note]:
        """Remove and return the notes of shelved alarms whose time is over."""
        over = [note for note in self._notes.values() if note.kind == "shelved" and note.until <= now]
        for note in over:
            self.remove(note.place)
        return over

    async def save(self) -> bool:
        """Write the file, in a thread; return whether all notes are on disk, or are not meant to be."""
        return True if self._entries is None else await self._entries.save()


def _name(place: tuple[tuple[str, ...], str]) -> str:
    path, key = place
    return f"{'/'.join(path)} {key}"
