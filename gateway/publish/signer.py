"""Sign records with the gateway's key, when they are sent."""

from __future__ import annotations

from gateway.codecs.signature import signed_text, with_signature
from gateway.common.sign_key import load_sign_key


class Signer:
    """An Ed25519 key that signs records."""

    def __init__(self, pem: bytes) -> None:
        """Read a private key in PEM (RFC 8410). Raises `MissingSecret`, whose text does not repeat the key."""
        self._key = load_sign_key(pem, "gateway.sign_key")

    def sign(self, place: str, payload: bytes) -> bytes:
        """Return a record with its signature; `place` is the topic below the root."""
        return with_signature(payload, self._key.sign(signed_text(place, payload)))
