"""That a gateway or ingest is there, told by birth and death; and that another one goes by its name, by mistake.

A broker lets only one client use an identifier: the second throws out the first, which comes back and throws out the
second. Some say so (MQTT 5, 4.13: 0x8E), others just close the connection. Both sign what they leave on the state
topic with an `instance` of their own and the number of their birth, so each finds the other's there. The one that is
thrown out then stays away for a while, and says why.
"""

from __future__ import annotations

import secrets
import socket
from typing import NamedTuple

import orjson
import structlog

from gateway.common.backoff import Backoff

log = structlog.get_logger()

STAND_BACK_FIRST, STAND_BACK_MAX = 60.0, 600.0
"""Seconds for which one stays away that was thrown out by another of its name."""


class Kind(NamedTuple):
    """How it is told that a name is used twice: an event, the field for the name, and what to do."""

    event: str
    field: str
    hint: str


GATEWAY = Kind("gateway.id_in_use", "gateway", "two gateways have this id: give each its own gateway.id")
INGEST = Kind(
    "ingest.thrown_out",
    "id",
    "another ingest has this ingest.id: give each its own, and a share where they are to divide the work",
)


class Presence:
    """What one process says of itself on its state topic, and hears there of others."""

    def __init__(self, name: str, config: str = "", kind: Kind = GATEWAY) -> None:
        """Prepare; `config` is the digest of the configuration that runs."""
        self.config = config
        self.instance = secrets.token_hex(4)
        self.contested = self.away = False
        self._name = name
        self._kind = kind
        self._host = socket.gethostname()
        self._connects = 0
        self._born = self._born_before = False
        self._births: dict[str, int] = {}
        self._told = False
        self._backoff = Backoff(STAND_BACK_FIRST, STAND_BACK_MAX)

    def birth(self, spool: str = "") -> bytes:
        """Return what is retained while it is there; a gateway has a `spool`."""
        told = {"state": "online"} | ({"spool": spool, "config": self.config} if spool else {})
        return self._signed(told, self._connects)

    def will(self) -> bytes:
        """Return what the broker is to retain when the next connection is lost."""
        return self._signed({"state": "offline", "reason": "connection lost"}, self._connects + 1)

    def death(self, reason: str) -> bytes:
        """Return what is retained when it has gone."""
        return self._signed({"state": "offline", "reason": reason}, self._connects)

    def _signed(self, told: dict[str, str], birth: int) -> bytes:
        return orjson.dumps(told | {"instance": self.instance, "host": self._host, "birth": birth})

    def connected(self) -> None:
        """Note a new connection: whether the name is contested shows anew."""
        self._connects += 1
        self._born_before = self._born
        self.contested = False

    def born(self) -> None:
        """Note that the broker has our birth: whatever a former run has left there is replaced."""
        self._born = True

    def heard(self, payload: bytes, *, retained: bool) -> None:
        """Read what stands on the state topic; what a former run has left there is no other."""
        try:
            told: dict[str, object] = orjson.loads(payload)
            instance, host = str(told["instance"]), str(told.get("host", ""))
            birth = int(str(told.get("birth", 0)))
        except (ValueError, TypeError, KeyError, AttributeError):
            return  # of an older version, or by hand
        if instance == self.instance:
            return
        known = self._births.get(instance, birth)
        self._births[instance] = max(known, birth)
        former = not self._born_before and (retained or told.get("state") == "offline")
        # a broker that was killed may retain what was there long ago; who is there now has been born again since
        if former or (retained and birth <= known):
            return
        self.contested = True
        self._tell(host=host, instance=instance)

    def thrown_out(self) -> None:
        """Note that the broker said that another client has our identifier."""
        self.contested = True
        self._tell()

    def _tell(self, **other: str) -> None:
        if not self._told:
            log.error(self._kind.event, **{self._kind.field: self._name}, other=other, hint=self._kind.hint)
        self._told = True

    async def stand_back(self) -> None:
        """Wait before coming back, longer each time."""
        self.away = True
        await self._backoff.wait()
        self.away = False
