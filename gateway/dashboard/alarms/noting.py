"""Note alarms for an operator, and record each action."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from gateway.dashboard.alarms.notes import MAX_NAME, Note

if TYPE_CHECKING:
    from gateway.dashboard.actions import Actors
    from gateway.dashboard.alarms.requests import NotedAlarm, NoteRequest
    from gateway.dashboard.live.alarms import Alarm
    from gateway.dashboard.plants import Plants

EVENTS = {"acknowledge": "noted as acknowledged", "shelve": "shelved", "remove": "note removed"}
"""The event in the journal of each action."""


class Noting:
    """Applies the requests of operators to the notes of all pages."""

    def __init__(self, plants: Plants, actors: Actors) -> None:
        self._plants = plants
        self._actors = actors

    async def apply(self, identity: str, request: NoteRequest) -> dict[str, Any]:
        """Apply a request; return how many alarms changed and are gone, and whether the notes are on disk."""
        now = time.time_ns() // 1000
        changed = 0
        for wanted in request.alarms:
            found = self._plants.find(wanted.machine)
            alarm = None if found is None else found[0].alarms.find(wanted.machine, wanted.key)
            if alarm is None:
                continue  # it ended meanwhile
            before, after = self._note(identity, request, wanted, alarm, now)
            if before is None and after is None:
                continue
            changed += 1
            self._actors.record(
                identity, f"alarm.{request.action}", f"{alarm.path} {alarm.source} {alarm.name}".strip(),
                None if before is None else before.model_dump(), None if after is None else after.model_dump(),
            )  # fmt: skip
            self._plants.journal.add(
                now, "operator", str(alarm.path), EVENTS[request.action], name=alarm.name, source=alarm.source,
                who=identity, comment=request.comment,
            )  # fmt: skip
        saved = await self._plants.notes.save()
        return {"changed": changed, "gone": len(request.alarms) - changed, "saved": saved}

    def _note(
        self, identity: str, request: NoteRequest, wanted: NotedAlarm, alarm: Alarm, now: int
    ) -> tuple[Note | None, Note | None]:
        """Change the note of an alarm; return the note before and the note after."""
        notes = self._plants.notes
        if request.action == "remove":
            return notes.remove(alarm.place), None
        shelve = request.action == "shelve"
        note = Note(
            kind="shelved" if shelve else "acknowledged", path=wanted.path, key=wanted.key, who=identity[:MAX_NAME],
            at=now, comment=request.comment, since=alarm.since,
            until=now + request.minutes * 60_000_000 if shelve else 0,
        )  # fmt: skip
        return notes.set(note), note
