"""Acknowledge, shelve and reset alarms for operators: at the gateway, or as a note of the page. Record all of it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from gateway.dashboard.alarms.notes import MAX_NAME, Note
from gateway.dashboard.commanding import Became
from gateway.dashboard.texts.text import _
from gateway.model.alarm_state import AlarmState
from gateway.model.command import Order, Target

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from gateway.dashboard.actions import Actors
    from gateway.dashboard.alarms.requests import NotedAlarm, NoteRequest
    from gateway.dashboard.live.alarms import Alarm
    from gateway.dashboard.live.gateway_alarms import GatewayAlarm
    from gateway.dashboard.plants import Plants
    from gateway.dashboard.texts.text import Text
    from gateway.model.command import Action, Argument

EVENTS = {"acknowledge": "noted as acknowledged", "shelve": "shelved", "remove": "note removed"}
"""The event in the journal of each action."""

COMMANDS: dict[str, Action] = {
    "acknowledge": "acknowledge", "shelve": "shelve", "remove": "unshelve", "reset": "reset",
}  # fmt: skip
"""The command for an alarm of a gateway, of each action."""

COMMANDED = {
    "acknowledge": "acknowledged", "shelve": "shelved", "unshelve": "unshelved",
    "return_to_service": "returned to service", "reset": "reset",
}  # fmt: skip
"""The event in the journal of each command that is done."""


class Noting:
    """Applies the requests of operators to the notes of all pages."""

    def __init__(self, plants: Plants, actors: Actors) -> None:
        self._plants = plants
        self._actors = actors

    async def apply(self, identity: str, request: NoteRequest) -> dict[str, Any]:
        """Apply a request; return how many alarms changed and are gone, and whether the notes are on disk.

        An alarm of a gateway that takes commands is left to the gateway; `commands` says what became of each.
        """
        now = time.time_ns() // 1000
        changed = 0
        commands: list[Coroutine[Any, Any, dict[str, Any]]] = []
        impossible: list[dict[str, Any]] = []
        for wanted in request.alarms:
            alarm = self._plants.alarm(wanted.machine, wanted.key)
            if alarm is None:
                continue  # it ended meanwhile
            held = self._plants.gateway_alarm(wanted.machine, wanted.key)
            if held is not None and self._plants.may_command(wanted.machine):
                commands.append(self._command(identity, request, held))
                continue
            if request.action == "reset":
                impossible.append(self._outcome(alarm, Became.NOT_SENT, _("no gateway takes a command for it")))
                continue
            before, after = self._note(identity, request, wanted, alarm, now)
            if before is None and after is None:
                continue
            changed += 1
            self._record(identity, request, alarm, before and before.model_dump(), after and after.model_dump())
            self._journal(identity, request, alarm, EVENTS[request.action])
        saved = await self._plants.notes.save()
        outcomes = [*await asyncio.gather(*commands), *impossible]
        gone = len(request.alarms) - changed - len(outcomes)
        return {"changed": changed, "gone": gone, "saved": saved, "commands": outcomes}

    async def _command(self, identity: str, request: NoteRequest, held: GatewayAlarm) -> dict[str, Any]:
        """Send a command to the gateway of an alarm; return what became of it."""
        alarm, action = held.alarm, COMMANDS[request.action]
        if request.action == "remove" and held.state is AlarmState.OUT_OF_SERVICE:
            action = "return_to_service"
        arguments: dict[str, Argument] = {"seconds": request.minutes * 60} if action == "shelve" else {}
        target = Target(machine=str(alarm.path), alarm=held.name)
        outcome = await self._plants.commander.send(
            identity, alarm.path, Order(action, target, arguments, request.comment)
        )
        became = {"command": outcome.id, "outcome": outcome.became.value, "text": str(outcome.text)}
        self._record(identity, request, alarm, {"state": held.state.value}, {"action": action} | became)
        if outcome.became is Became.DONE:
            self._journal(identity, request, alarm, COMMANDED[action])
        return self._outcome(alarm, outcome.became, outcome.text)

    def _outcome(self, alarm: Alarm, became: Became, text: Text | str) -> dict[str, Any]:
        """Return what became of a command, for the page."""
        return {
            "path": str(alarm.path), "name": alarm.name, "outcome": became.value, "text": text,
            "seconds": self._plants.commander.seconds,
        }  # fmt: skip

    def _record(self, identity: str, request: NoteRequest, alarm: Alarm, before: Any, after: Any) -> None:  # noqa: ANN401 - JSON
        object_ = f"{alarm.path} {alarm.source} {alarm.name}".strip()
        self._actors.record(identity, f"alarm.{request.action}", object_, before, after)

    def _journal(self, identity: str, request: NoteRequest, alarm: Alarm, event: str) -> None:
        self._plants.journal.add(
            time.time_ns() // 1000, "operator", str(alarm.path), event, name=alarm.name, source=alarm.source,
            who=identity, comment=request.comment,
        )  # fmt: skip

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
