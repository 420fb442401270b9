"""That a gateway is there, told by birth and death; and that another one goes by the same name, which is a mistake.

A broker lets only one client use an identifier: the second throws out the first, which comes back and throws out the
second. Some say so (MQTT 5, 4.13: 0x8E), others just close the connection. Both gateways sign what they leave on the
state topic with an `instance` of their own, so each finds the other's there. The one that is thrown out then stays
away for a while, and says why.
"""

from __future__ import annotations

import secrets
import socket

import orjson
import structlog

from gateway.backoff import Backoff

log = structlog.get_logger()

STAND_BACK_FIRST, STAND_BACK_MAX = 60.0, 600.0
"""Seconds for which a gateway stays away that was thrown out by another of its name."""


class Presence:
    """What one process says of itself on the state topic of its gateway, and hears there of others."""

    def __init__(self, gateway: str, config: str = "") -> None:
        """Prepare; `config` is the digest of the configuration that runs."""
        self.config = config
        self.instance = secrets.token_hex(4)
        self.contested = self.away = False
        self._gateway = gateway
        self._host = socket.gethostname()
        self._connects = 0
        self._told = False
        self._backoff = Backoff(STAND_BACK_FIRST, STAND_BACK_MAX)

    def birth(self, spool: str) -> bytes:
        """Return what is retained while the gateway is there."""
        told = {"state": "online", "spool": spool, "instance": self.instance, "host": self._host}
        return orjson.dumps(told | {"config": self.config})

    def death(self, reason: str) -> bytes:
        """Return what is retained when it has gone."""
        return orjson.dumps({"state": "offline", "reason": reason, "instance": self.instance, "host": self._host})

    def connected(self) -> None:
        """Note a new connection: whether the name is contested shows anew."""
        self._connects += 1
        self.contested = False

    def heard(self, payload: bytes, *, retained: bool) -> None:
        """Read what stands on the state topic; what a former run has left there is no other gateway."""
        try:
            told: dict[str, object] = orjson.loads(payload)
            instance, host = str(told["instance"]), str(told.get("host", ""))
        except (ValueError, TypeError, KeyError, AttributeError):
            return  # of an older version, or by hand
        former = self._connects == 1 and (retained or told.get("state") == "offline")
        if instance == self.instance or former:
            return
        self.contested = True
        self._tell(host=host, instance=instance)

    def thrown_out(self) -> None:
        """Note that the broker said that another client has our identifier."""
        self.contested = True
        self._tell()

    def _tell(self, **other: str) -> None:
        if not self._told:
            hint = "two gateways have this id: give each its own gateway.id"
            log.error("gateway.id_in_use", gateway=self._gateway, other=other, hint=hint)
        self._told = True

    async def stand_back(self) -> None:
        """Wait before coming back, longer each time."""
        self.away = True
        await self._backoff.wait()
        self.away = False
