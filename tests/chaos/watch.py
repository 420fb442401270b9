"""A client at the broker: which answers were sent under which number, which are confirmed, and the newest ledger."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any, Self

from aiomqtt import MqttError

from chaos.machines import unit_of
from gateway.mqtt.client import MqttClient
from gateway.settings.sections import BrokerSection

if TYPE_CHECKING:
    from types import TracebackType

    from gateway.mqtt.packets import ReceivedMessage

RECONNECT = 0.1

ROOT = "+/+/+/+"


class Watch:
    """Listens as long as there is a broker. The judge does not know the messages that it misses while there is none.

    Without `records` it does not listen to those: a broker then says when ingest is not there to take them (MQTT 5,
    0x10), and with it a gateway has to find that out.
    """

    def __init__(self, broker: str, *, records: bool) -> None:
        self.ledgers: dict[str, tuple[dict[str, Any], float]] = {}
        """The newest ledger of each gateway, and when it came, by the monotonic clock."""
        leaves = [f"{ROOT}/_gateways/+/{leaf}" for leaf in ("ledger", "confirmed")]
        self._topics = [*leaves, f"{ROOT}/+/+/+/data"] if records else leaves
        self._broker = BrokerSection(url=broker)
        self._sent: dict[tuple[str, int], set[tuple[int, int]]] = {}
        self._confirmed: set[tuple[str, int]] = set()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._listen(), name="watch the broker")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        await asyncio.wait((self._task,))

    @property
    def confirmed(self) -> set[tuple[int, int]]:
        """The answers (unit, count) of which ingest has said that the stores hold them."""
        return {answer for record in self._confirmed for answer in self._sent.get(record, ())}

    async def _listen(self) -> None:
        while True:
            try:
                async with MqttClient(self._broker, "watch") as link:
                    if denied := await link.subscribe_to(*self._topics, qos=0):
                        raise MqttError(f"denied: {denied}")  # noqa: TRY301 - that is a fault, too
                    while True:
                        self._note(await link.receive())
            except MqttError:
                await asyncio.sleep(RECONNECT)

    def _note(self, message: ReceivedMessage) -> None:
        try:
            content, leaf = json.loads(message.payload), message.topic.rsplit("/", 1)[1]
        except (ValueError, RecursionError):  # that is a fault, too
            return
        match leaf:
            case "ledger":
                self.ledgers[message.topic.split("/")[-2]] = content["ledger"], time.monotonic()
            case "confirmed":
                numbers = (n for first, last in content["ranges"] for n in range(first, last + 1))
                self._confirmed.update((content["spool"], number) for number in numbers)
            case _:
                unit = unit_of(message.topic.split("/")[-2])
                if unit is None:
                    return
                counts = {(unit, scan["values"]["count"]) for scan in content["scans"] if scan["values"]}
                self._sent.setdefault((content["spool"], content["seq"]), set()).update(counts)
