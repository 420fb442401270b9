"""Retained messages of calculations below the topics of machines: one for each alarm that is not normal.

A broker keeps them without limit. The topics that may have a message there are in a file, which is on disk before a
message is published: so a message is cleared after any kill, also if its alarm or machine is gone by then.

A machine that another worker of the gateway reads is left to that worker, which inherits the topics.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson
import structlog

from drivers.own_files import read_own
from gateway.common.atomic_file import save_json
from gateway.common.state_log import RepeatLog

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

log = structlog.get_logger(__name__)

MAX_FILE_BYTES = 64 * 2**20
"""Bytes of the file."""

GATHER = 0.2
"""Seconds for which changes are collected: of a flood of alarms each topic is published once."""


class RetainedMessages:
    """The retained messages of a gateway's calculations, by topic; `change` is set while there are new messages.

    `idle` is set while none is on its way to the broker.
    """

    def __init__(self, file: Path) -> None:
        """Prepare; no I/O before `begin`."""
        self.change = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()
        self._file = file
        self._repeated = RepeatLog(log)
        self._wanted: dict[str, bytes] = {}
        self._changed: dict[str, bytes] = {}
        self._there: set[str] = set()  # topics that may have a message at the broker
        self._elsewhere: frozenset[str] = frozenset()
        self._unsaved = False

    async def begin(self) -> None:
        """Read the file. One that is damaged is logged: its messages stay at the broker until they change."""
        try:
            self._there |= await asyncio.to_thread(read_topics, self._file)
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            log.warning("retained_messages.unreadable", file=str(self._file), error=str(error))

    def set(self, topic: str, payload: bytes) -> None:
        """Publish a message on a topic, or clear it with an empty payload."""
        if payload:
            self._wanted[topic] = payload
        else:
            self._wanted.pop(topic, None)
        self._changed[topic] = payload
        self.change.set()

    def drop(self, prefix: str) -> None:
        """Clear the messages below a topic, of a machine that is gone; those of another worker's machine stay."""
        for topic in [one for one in {*self._wanted, *self._there} if one.startswith(prefix)]:
            if prefix in self._elsewhere:
                self._wanted.pop(topic, None)
                self._changed.pop(topic, None)
            else:
                self.set(topic, b"")

    def leave(self, prefixes: Iterable[str]) -> None:
        """Leave the messages below these topics to other workers. Their topics stay in the file, for the heirs."""
        self._elsewhere = frozenset(prefixes)

    def inherit(self, topics: Iterable[str], prefixes: Iterable[str]) -> None:
        """Take over those topics of another worker that are below some topics; see `clear_unwanted`."""
        below = set(prefixes)
        self._there |= {topic for topic in topics if _above(topic) in below}
        self._unsaved = True

    def clear_unwanted(self) -> None:
        """Clear the messages that no alarm wants: those inherited, or left to a worker that lost the machine, too."""
        for topic in self._unwanted():
            self.set(topic, b"")

    def all(self) -> dict[str, bytes]:
        """Return everything to publish on a new connection."""
        self.idle.clear()
        self._changed.clear()
        return dict.fromkeys(self._unwanted(), b"") | self._wanted

    def _unwanted(self) -> list[str]:
        return [topic for topic in self._there - self._wanted.keys() if _above(topic) not in self._elsewhere]

    async def take_changed(self) -> dict[str, bytes]:
        """Wait for changes, and return them."""
        await self.change.wait()
        await asyncio.sleep(GATHER)
        self.change.clear()
        self.idle.clear()
        changed, self._changed = self._changed, {}
        return changed

    async def remember(self, messages: Mapping[str, bytes]) -> None:
        """Note in the file that these topics have messages, before they are published."""
        new = {topic for topic, payload in messages.items() if payload} - self._there
        if new:
            self._there |= new
            self._unsaved = True
        await self._save()

    async def delivered(self, messages: Mapping[str, bytes]) -> None:
        """Note that the broker has these messages: topics that were cleared have none any more."""
        self.idle.set()
        gone = {topic for topic, payload in messages.items() if not payload and topic not in self._wanted}
        if gone & self._there:
            self._there -= gone
            self._unsaved = True
            await self._save()

    async def _save(self) -> None:
        """Save the file if it has to change, in a thread. A disk that fails is logged, and tried again later."""
        if not self._unsaved:
            return
        self._unsaved = False
        try:
            await asyncio.to_thread(save_json, self._file, {"topics": sorted(self._there)})
        except OSError as error:
            self._unsaved = True
            self._repeated.warning("retained_messages.not_saved", file=str(self._file), error=str(error))


def _above(topic: str) -> str:
    return topic[: topic.rfind("/") + 1]


def read_topics(file: Path) -> set[str]:
    """Return the topics in the file. Raises `OSError`, or `ValueError`."""
    content = orjson.loads(read_own(file, MAX_FILE_BYTES))
    topics = content.get("topics") if isinstance(content, dict) else None
    if not isinstance(topics, list) or not all(isinstance(topic, str) for topic in topics):
        raise ValueError("is not a list of topics")
    return set(topics)
