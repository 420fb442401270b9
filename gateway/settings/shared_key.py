"""The strength of `gateway.confirm_key`, the key that gateways and ingest share (IEC 62443-4-2, CR 1.14)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivers.secret import MissingSecret
from gateway.settings.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.settings.factory import Factory

SHORTEST = 32
"""Bytes of the text of the shortest key."""

_PATH = ("gateway", "confirm_key")

TOO_SHORT = (
    f"the secret has fewer than {SHORTEST} bytes; make a key with openssl rand -hex 32, and give it to the gateways "
    "and to ingest"
)
"""The message for a short key. It never repeats the key, nor its length."""


def shared_key_problems(factory: Factory) -> Iterator[Problem]:
    """Yield an error if the key has fewer than 32 bytes; a key that this process can't read is left."""
    document = factory.document
    try:
        short = factory.gateway.confirm_key is not None and len(factory.gateway.reveal_confirm_key()) < SHORTEST
    except MissingSecret:
        return
    if short and document is not None:
        yield Problem(document.file, *document.mark(_PATH), ".".join(_PATH), TOO_SHORT)
