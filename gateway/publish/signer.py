"""Sign records with the gateway's key, when they are sent."""

from __future__ import annotations

from drivers.private_key import load_signing_key
from gateway.codecs.signature import signed_text, with_signature
from gateway.common.setting_types import MissingSecret


class Signer:
    """An Ed25519 key that signs records."""

    def __init__(self, pem: bytes) -> None:
        """Read a private key in PEM (RFC 8410). Raises `MissingSecret`, whose text does not repeat the key."""
        try:
            self._key = load_signing_key(pem)
        except ValueError:
            raise MissingSecret(
                "gateway.sign_key is not the private key of Ed25519 in PEM; make one with: "
                "openssl genpkey -algorithm ed25519"
            ) from None

    def sign(self, place: str, payload: bytes) -> bytes:
        """Return a record with its signature; `place` is the topic below the root."""
        return with_signature(payload, self._key.sign(signed_text(place, payload)))
