"""Confirmations are sent until the broker has acknowledged them."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from aiomqtt import MqttError

from gateway.ingest import confirmations as confirmations_module
from gateway.ingest.confirmations import PendingConfirmations

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.mqtt.client import MqttClient


class FakeClient:
    """Keeps what is sent, and the fate of each; a lost one raises."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self.fates: list[Callable[[int], None]] = []
        self.lost = False

    def send(self, topic: str, payload: bytes, fate: Callable[[int], None]) -> None:
        if self.lost:
            raise MqttError("not sent")
        self.sent.append((topic, payload))
        self.fates.append(fate)

    @property
    def client(self) -> MqttClient:
        return cast("MqttClient", self)


ONE, TWO, THREE = (("topic", payload) for payload in (b"1", b"2", b"3"))


def test_an_unacknowledged_confirmation_is_sent_over_the_next_connection():
    """It may have been lost with the link, and then the gateway waits for a time-out."""
    confirmations, first, second = PendingConfirmations(), FakeClient(), FakeClient()
    confirmations.send(first.client, confirmations.add([ONE, TWO]))
    confirmations.send(first.client, confirmations.add([THREE]))
    assert first.sent == [ONE, TWO, THREE]
    first.fates[1](0)
    confirmations.send(second.client)
    assert second.sent == [ONE, THREE]
    for fate in second.fates:
        fate(0x10)  # nobody listens: a gateway that comes sends again what is not confirmed
    third = FakeClient()
    confirmations.send(third.client)
    assert third.sent == []


def test_an_unsent_confirmation_is_sent_over_the_next_connection():
    """The link was lost between the write and the answer."""
    confirmations, lost, following = PendingConfirmations(), FakeClient(), FakeClient()
    lost.lost = True
    with pytest.raises(MqttError):
        confirmations.send(lost.client, confirmations.add([ONE]))
    confirmations.send(following.client)
    assert following.sent == [ONE]


def test_pending_confirmations_are_bounded(monkeypatch: pytest.MonkeyPatch):
    """The newest is kept: gateways send again what is not confirmed."""
    monkeypatch.setattr(confirmations_module, "MAX_PENDING", 2)
    confirmations, client = PendingConfirmations(), FakeClient()
    confirmations.add([ONE, TWO, THREE])
    confirmations.send(client.client)
    assert client.sent == [TWO, THREE]
