"""Users and rights at a broker, in the form of the broker: one file for each broker, one line in `BROKERS`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.acl.emqx import emqx
from gateway.acl.hivemq import hivemq
from gateway.acl.mosquitto import mosquitto
from gateway.acl.nats import nats

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.acl.accounts import Account
    from gateway.acl.written import Written
    from gateway.settings.sections import BrokerSection

BROKERS: dict[str, Callable[[Sequence[Account], BrokerSection], Written]] = {
    "mosquitto": mosquitto,
    "nats": nats,
    "emqx": emqx,
    "hivemq": hivemq,
}
"""The name of a broker -> the function that writes its files. Raises `NotPossible`."""
