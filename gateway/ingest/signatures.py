"""Check the signatures of records with the public keys of their gateways."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.codecs.signature import signed_text, split
from gateway.common.public_keys import public_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.settings.factory import Factory

BAD_SIGNATURE = "bad_signature"
"""Drop reason of readings whose record has no signature of its gateway."""

HINT = "find its publisher; if the gateway has a new key, add its public key to ingest.public_keys"


class Signatures:
    """The public keys of gateways, by id. A gateway without a key need not sign."""

    def __init__(self, keys: Mapping[str, Iterable[str]]) -> None:
        self._keys = {gateway: [public_key(one) for one in some] for gateway, some in keys.items()}

    def fault(self, gateway: str, place: str, payload: bytes) -> str:
        """Return the fault of a record's signature; empty if it is right, or if the gateway need not sign.

        `place` is the topic below the root. A gateway with several keys may use any of them.
        """
        keys = self._keys.get(gateway)
        if keys is None:
            return ""
        content, signature = split(payload)
        if not signature:
            return f"the record has no signature of gateway {gateway}"
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - few need it

        text = signed_text(place, content)
        for key in keys:
            try:
                key.verify(signature, text)
            except InvalidSignature:
                continue
            return ""
        return f"the signature is not of gateway {gateway}"


def signatures_of(factories: Iterable[Factory]) -> Signatures:
    """Return the public keys of the gateways of several configurations of one broker."""
    keys: dict[str, list[str]] = {}
    for factory in factories:
        for gateway, some in factory.ingest.public_keys.items():
            keys.setdefault(gateway, []).extend(some)
    return Signatures(keys)
