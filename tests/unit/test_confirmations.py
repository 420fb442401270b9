"""Confirmations are sent until the broker has acknowledged them."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from aiomqtt import MqttError

from gateway.common.seq_ranges import SeqRanges
from gateway.ingest import confirmations as confirmations_module
from gateway.ingest.batch import Confirmation, Sender
from gateway.ingest.confirmations import PendingConfirmations, confirmation_messages
from gateway.model.receipt import receipt_of
from gateway.mqtt.messages import parse_confirmation
from gateway.mqtt.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.mqtt.client import MqttClient


RECEIPT = receipt_of("enterprise/site/area/line/m-01/data", b"record")


class FakeClient:
    """Keeps the sent messages and the callback of each; raises an error when the connection is lost."""

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
    """It may have been lost with the connection; the gateway would then wait for a time-out."""
    confirmations, first, second = PendingConfirmations(), FakeClient(), FakeClient()
    confirmations.send(first.client, confirmations.add([ONE, TWO]))
    confirmations.send(first.client, confirmations.add([THREE]))
    assert first.sent == [ONE, TWO, THREE]
    first.fates[1](0)
    confirmations.send(second.client)
    assert second.sent == [ONE, THREE]
    for fate in second.fates:
        fate(0x10)  # no subscribers: a gateway that connects later sends unconfirmed records again
    third = FakeClient()
    confirmations.send(third.client)
    assert third.sent == []


def test_an_unsent_confirmation_is_sent_over_the_next_connection():
    """The connection was lost between the write and the confirmation."""
    confirmations, lost, following = PendingConfirmations(), FakeClient(), FakeClient()
    lost.lost = True
    with pytest.raises(MqttError):
        confirmations.send(lost.client, confirmations.add([ONE]))
    confirmations.send(following.client)
    assert following.sent == [ONE]


def test_pending_confirmations_are_bounded(monkeypatch: pytest.MonkeyPatch):
    """The newest confirmations are kept: gateways send unconfirmed records again."""
    monkeypatch.setattr(confirmations_module, "MAX_PENDING", 2)
    confirmations, client = PendingConfirmations(), FakeClient()
    confirmations.add([ONE, TWO, THREE])
    confirmations.send(client.client)
    assert client.sent == [TWO, THREE]


def test_a_refused_confirmation_is_reported():
    """A broker that denies them makes gateways send everything again, and nobody would know why."""
    results: list[tuple[str, int]] = []
    confirmations, client = PendingConfirmations(lambda *result: results.append(result)), FakeClient()
    confirmations.send(client.client, confirmations.add([ONE]))
    client.fates[0](0x87)
    assert results == [("topic", 0x87)]


@pytest.mark.parametrize("step", [1, 2])
def test_a_large_confirmation_goes_in_several_messages(monkeypatch: pytest.MonkeyPatch, step: int):
    """A gateway refuses a confirmation with too many ranges."""
    monkeypatch.setattr(confirmations_module, "MAX_RANGES", 10)
    sender = Sender("e", "s", "edge", "sp")
    stored = [Confirmation(sender, seq, RECEIPT, 1 if seq % 3 == 0 else 0) for seq in range(1, 201, step)]
    accepted = [Confirmation(sender, seq, RECEIPT) for seq in range(1001, 1100, 2)]
    messages = confirmation_messages(Topics("r"), "ingest", "i", stored, accepted)
    assert {topic for topic, _ in messages} == {"r/e/s/_gateways/edge/confirmed"}
    ranges, taken, set_aside = SeqRanges(), SeqRanges(), {}
    for _, payload in messages:
        found = parse_confirmation(payload)
        assert max(len(found.ranges), len(found.set_aside), len(found.taken)) <= 10
        for span in found.ranges:
            ranges.add(*span)
        for span in found.taken:
            taken.add(*span)
        # the readings set aside of a record are in its confirmation: the ledger counts both at once
        assert all(any(first <= seq <= last for first, last in found.ranges) for seq in found.set_aside)
        set_aside |= found.set_aside
    assert [seq for first, last in ranges for seq in range(first, last + 1)] == [one.seq for one in stored]
    assert set_aside == {one.seq: 1 for one in stored if one.set_aside}
    assert [seq for first, last in taken for seq in range(first, last + 1)] == [one.seq for one in accepted]
