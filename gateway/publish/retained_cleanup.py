"""Clear the retained messages of machines that a gateway no longer has.

A broker keeps the description and last state of a machine without limit, so a machine that was removed from the
configuration would stay online there. The gateway remembers in a file for which machines it has published a state.
It clears the messages of machines that are gone, unless another gateway has signed the state: it has the machine now.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated

import orjson
import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from drivers.own_files import read_own
from gateway.common.atomic_file import save_json
from gateway.common.state_log import RepeatLog
from gateway.mqtt.client import Message
from gateway.mqtt.messages import MAX_SEQ, BadMessage, parse_machine_state

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

log = structlog.get_logger(__name__)

CLEARED = b""
"""An empty retained message removes the retained message of its topic (MQTT 5, 3.3.1.3)."""

MAX_FILE_BYTES = 64 * 2**20
"""Bytes of the file: a hundred thousand machines."""


class _File(BaseModel):
    """The content of the file: the topics of the states, and from which record on a machine was gone."""

    model_config = ConfigDict(strict=True, frozen=True)

    states: frozenset[str]
    gone: dict[str, Annotated[int, Field(ge=0, le=MAX_SEQ)]] = Field(default_factory=dict)


class RetainedCleanup:
    """The topics of the states that this gateway has published, and those of them whose machines are gone.

    While records from before wait in the spool, one of such a machine may be among them, and needs its description:
    until they are confirmed the machine is only marked offline. `change` is set when machines have gone.
    """

    def __init__(self, file: Path, gateway: str, oldest: Callable[[], int]) -> None:
        """Prepare; no I/O. `oldest` returns the number of the oldest record that waits, or else of the next."""
        self.change = asyncio.Event()
        self._file = file
        self._gateway = gateway
        self._oldest = oldest
        self._repeated = RepeatLog(log)
        self._unsaved = False
        self._saving = asyncio.Lock()
        self._topics: set[str] = set()
        self._gone: dict[str, int] = {}  # records before this number may need the description
        self._again: set[str] = set()  # machines whose mark is of an earlier connection
        self._ours: set[str] = set()  # machines that are gone, and whose retained state we have signed

    @property
    def topics(self) -> set[str]:
        """The topics to subscribe to: their messages go to `heard`."""
        return set(self._gone)

    async def begin(self, topics: Collection[str], following: int) -> None:
        """Read the file, then `update`."""
        try:
            read = await asyncio.to_thread(_read, self._file)
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            log.warning("retained_cleanup.unreadable", file=str(self._file), error=str(error))
        else:
            self._topics, self._gone = set(read.states), dict(read.gone)
        await self.update(topics, following)

    async def update(self, topics: Collection[str], following: int) -> None:
        """Take the topics of the states of the present machines, and save; the next record is number `following`."""
        now = set(topics)
        # a new spool counts from 1 again
        self._gone = {topic: min(number, following) for topic, number in self._gone.items() if topic not in now}
        self._gone |= dict.fromkeys(self._topics - now - self._gone.keys(), following)
        self._topics = now
        self._ours &= self._gone.keys()
        self._unsaved = True
        self.change.set()
        await self.save()

    def mark_again(self) -> None:
        """Mark the machines that are gone over a new connection, too: readers refuse marks of earlier connections."""
        self._again = set(self._gone)

    def heard(self, topic: str, payload: bytes) -> list[Message]:
        """Return the messages that answer the retained state of a topic."""
        if topic not in self._gone:
            return []
        try:
            state = parse_machine_state(payload)
        except BadMessage:  # cleared, or by hand
            state = None
        if state is None or state.gateway != self._gateway:
            del self._gone[topic]
            self._ours.discard(topic)
            self._unsaved = True
            return []
        self._ours.add(topic)
        messages = self.clear()
        marked = state.reason == "removed"
        if topic in self._ours and (not marked or topic in self._again):
            self._again.discard(topic)
            since = state.since if marked else time.time_ns() // 1000
            removed = {"state": "offline", "reason": "removed", "since": since, "gateway": self._gateway}
            messages.append(Message(topic, orjson.dumps(removed)))
        return messages

    def clear(self) -> list[Message]:
        """Return the messages that clear the machines whose description no record needs any more."""
        oldest = self._oldest()
        done = sorted(topic for topic in self._ours if self._gone[topic] <= oldest)
        self._ours.difference_update(done)
        for topic in done:
            log.info("machine.cleared", topic=topic)
        return [
            Message(cleared, CLEARED) for topic in done for cleared in (topic.removesuffix("/state") + "/meta", topic)
        ]

    async def save(self) -> None:
        """Save the file if it has to change, in a thread. A disk that fails is logged, and tried again later."""
        async with self._saving:
            if not self._unsaved:
                return
            self._unsaved = False
            content = {"states": sorted(self._topics), "gone": dict(self._gone)}
            try:
                await asyncio.to_thread(save_json, self._file, content)
            except OSError as error:
                self._unsaved = True
                self._log_unsaved(error)

    def _log_unsaved(self, error: OSError) -> None:
        """Log that the file can't be written, which must not stop the gateway."""
        self._repeated.warning("retained_cleanup.not_saved", file=str(self._file), error=str(error))


def _read(file: Path) -> _File:
    """Return the content of the file. Raises `OSError`, or `ValueError` with a short text."""
    content = read_own(file, MAX_FILE_BYTES)
    try:
        return _File.model_validate_json(content)
    except ValidationError as error:
        raise ValueError(f"is not a list of topics: {error.error_count()} errors") from None
