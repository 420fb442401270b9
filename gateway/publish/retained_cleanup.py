"""What stays retained at the broker of machines that a gateway no longer has.

A broker keeps a machine's description and last state for ever, so one that was taken out of the configuration would
be online for ever. The gateway remembers in a file what it has told. It clears what is left over, unless the state is
signed by another gateway, which has taken the machine over.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import orjson
import structlog

from gateway.common.atomic_file import save_json
from gateway.mqtt.client import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

log = structlog.get_logger()

CLEARED = b""
"""An empty retained message takes the retained one away (MQTT 5, 3.3.1.3)."""


class RetainedCleanup:
    """The topics of states that this gateway has told of, and those of them that nothing is behind any more.

    While records from before wait in the spool, one of such a machine may be among them, and needs the description:
    until they are confirmed the machine is only said to be offline. `change` is set when machines have gone.
    """

    def __init__(self, file: Path, gateway: str, oldest: Callable[[], int]) -> None:
        """Prepare; no I/O. `oldest` returns the number of the oldest record that waits, or else of the next."""
        self.change = asyncio.Event()
        self._file = file
        self._gateway = gateway
        self._oldest = oldest
        self._topics: set[str] = set()
        self._gone: dict[str, int] = {}  # records before this number may need the description
        self._ours: set[str] = set()  # of those that have gone: what stands there is signed by us

    @property
    def topics(self) -> set[str]:
        """The topics to listen to: what is retained there goes to `heard`."""
        return set(self._gone)

    def begin(self, topics: Collection[str], following: int) -> None:
        """Read what was told before; see `update`."""
        try:
            told = orjson.loads(self._file.read_bytes())
            self._topics = {str(topic) for topic in told["states"]}
            self._gone = {str(topic): int(number) for topic, number in told.get("gone", {}).items()}
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("leftovers.unreadable", file=str(self._file), error=str(error))
        self.update(topics, following)

    def update(self, topics: Collection[str], following: int) -> None:
        """Take the topics of the states of the machines that there are now; the next record is number `following`."""
        now = set(topics)
        # a spool that was begun anew counts from 1 again
        self._gone = {topic: min(number, following) for topic, number in self._gone.items() if topic not in now}
        self._gone |= dict.fromkeys(self._topics - now - self._gone.keys(), following)
        self._topics = now
        self._ours &= self._gone.keys()
        self._save()
        self.change.set()

    def heard(self, topic: str, payload: bytes) -> list[Message]:
        """Return what is to be published for what is retained on a topic."""
        if topic not in self._gone:
            return []
        told = _state(payload)
        if told.get("gateway") != self._gateway:  # cleared, or another's
            del self._gone[topic]
            self._ours.discard(topic)
            self._save()
            return []
        self._ours.add(topic)
        messages = self.clear()
        if topic in self._ours and told.get("reason") != "removed":
            now = time.time_ns() // 1000
            state = {"state": "offline", "reason": "removed", "since": now, "gateway": self._gateway}
            messages.append(Message(topic, orjson.dumps(state)))
        return messages

    def clear(self) -> list[Message]:
        """Return what clears the machines whose description no record needs any more."""
        oldest = self._oldest()
        done = sorted(topic for topic in self._ours if self._gone[topic] <= oldest)
        self._ours.difference_update(done)
        for topic in done:
            log.info("machine.cleared", topic=topic)
        return [
            Message(cleared, CLEARED) for topic in done for cleared in (topic.removesuffix("/state") + "/meta", topic)
        ]

    def _save(self) -> None:
        try:
            save_json(self._file, {"states": sorted(self._topics), "gone": self._gone})
        except OSError as error:  # a full disk must not stop the gateway
            log.warning("leftovers.not_saved", file=str(self._file), error=str(error))


def _state(payload: bytes) -> dict[str, object]:
    try:
        told = orjson.loads(payload)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
