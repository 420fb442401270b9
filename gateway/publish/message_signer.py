"""The signer of a gateway's messages, which all its processes share: one key, and one file of numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.common.rising_numbers import RisingNumbers
from gateway.mqtt.signed import NUMBERS, MessageSigner

if TYPE_CHECKING:
    from gateway.mqtt.topics import Topics
    from gateway.settings.sections import GatewaySection


async def gateway_signer(settings: GatewaySection, topics: Topics) -> MessageSigner | None:
    """Return the signer of a gateway that is ready to sign; None without a key. Raises `MissingSecret`."""
    numbers = RisingNumbers(settings.spool.folder / f"{settings.id}{NUMBERS}")
    signer = MessageSigner.of_secret(settings.id, topics, numbers, settings.sign_key, "gateway.sign_key")
    if signer is not None:
        await numbers.begin()
    return signer
