"""What stays retained at the broker of machines that a gateway no longer has.

A broker keeps a machine's description and last state for ever, so one that was taken out of the configuration would
be online for ever. The gateway remembers in a file what it has told. It clears what is left over, unless the state is
signed by another gateway, which has taken the machine over.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import orjson
import structlog

from gateway.meta import save_json
from gateway.mqtt import Message

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

log = structlog.get_logger()

CLEARED = b""
"""An empty retained message takes the retained one away (MQTT 5, 3.3.1.3)."""


class Leftovers:
    """The topics of states that this gateway has told of, and those of them that nothing is behind any more.

    While records wait in the spool, one of such a machine may be among them, and needs the description: then the
    machine is only said to be offline, and a later start clears it.
    """

    def __init__(self, file: Path, gateway: str, topics: Collection[str]) -> None:
        """Prepare; no I/O. `topics` are those of the machines' states as they are configured now."""
        self._file = file
        self._gateway = gateway
        self._topics = set(topics)
        self._gone: set[str] = set()
        self._clear = False

    @property
    def topics(self) -> list[str]:
        """The topics to listen to: what is retained there goes to `heard`."""
        return sorted(self._gone)

    def begin(self, *, empty: bool) -> None:
        """Read what was told before; `empty` is whether nothing waits in the spool."""
        self._clear = empty
        try:
            self._gone = {str(topic) for topic in orjson.loads(self._file.read_bytes())["states"]} - self._topics
        except FileNotFoundError:
            self._gone = set()
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.warning("leftovers.unreadable", file=str(self._file), error=str(error))
        self._save()

    def heard(self, topic: str, payload: bytes) -> list[Message]:
        """Return what is to be published for what is retained on a topic."""
        if topic not in self._gone:
            return []
        told = _state(payload)
        if told.get("gateway") != self._gateway:  # cleared, or another's
            self._gone.discard(topic)
            self._save()
            return []
        if self._clear:
            log.info("machine.cleared", topic=topic)
            return [Message(topic.removesuffix("/state") + "/meta", CLEARED), Message(topic, CLEARED)]
        if told.get("reason") == "removed":
            return []
        now = time.time_ns() // 1000
        state = {"state": "offline", "reason": "removed", "since": now, "gateway": self._gateway}
        return [Message(topic, orjson.dumps(state))]

    def _save(self) -> None:
        try:
            save_json(self._file, {"states": sorted(self._topics | self._gone)})
        except OSError as error:  # a full disk must not stop the gateway
            log.warning("leftovers.not_saved", file=str(self._file), error=str(error))


def _state(payload: bytes) -> dict[str, object]:
    try:
        told = orjson.loads(payload)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
