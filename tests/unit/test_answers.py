"""What ingest tells gateways, until the broker has heard it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from aiomqtt import MqttError

from gateway.ingest import confirmations as answers
from gateway.ingest.confirmations import PendingConfirmations

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.mqtt.client import MqttClient


class FakeLink:
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
    def link(self) -> MqttClient:
        return cast("MqttClient", self)


ONE, TWO, THREE = (("topic", payload) for payload in (b"1", b"2", b"3"))


def test_what_the_broker_has_not_acknowledged_is_told_over_the_next_link():
    """It may have been lost with the link, and then the gateway waits for a time-out."""
    confirmations, first, second = PendingConfirmations(), FakeLink(), FakeLink()
    confirmations.tell(first.link, confirmations.add([ONE, TWO]))
    confirmations.tell(first.link, confirmations.add([THREE]))
    assert first.sent == [ONE, TWO, THREE]
    first.fates[1](0)
    confirmations.tell(second.link)
    assert second.sent == [ONE, THREE]
    for fate in second.fates:
        fate(0x10)  # nobody listens: a gateway that comes sends again what is not confirmed
    third = FakeLink()
    confirmations.tell(third.link)
    assert third.sent == []


def test_what_could_not_be_sent_is_told_over_the_next_link():
    """The link was lost between the write and the answer."""
    confirmations, lost, following = PendingConfirmations(), FakeLink(), FakeLink()
    lost.lost = True
    with pytest.raises(MqttError):
        confirmations.tell(lost.link, confirmations.add([ONE]))
    confirmations.tell(following.link)
    assert following.sent == [ONE]


def test_what_is_kept_to_be_told_is_bounded(monkeypatch: pytest.MonkeyPatch):
    """The newest is kept: gateways send again what is not confirmed."""
    monkeypatch.setattr(answers, "MOST_UNHEARD", 2)
    confirmations, link = PendingConfirmations(), FakeLink()
    confirmations.add([ONE, TWO, THREE])
    confirmations.tell(link.link)
    assert link.sent == [TWO, THREE]
