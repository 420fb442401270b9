"""The private key with which a service signs its records and messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivers.private_key import load_signing_key
from gateway.common.setting_types import MissingSecret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def load_sign_key(pem: bytes, option: str) -> Ed25519PrivateKey:
    """Return the private key of Ed25519 in PEM (RFC 8410); `option` is its place in the configuration.

    Raises `MissingSecret`, whose text does not repeat the key.
    """
    try:
        return load_signing_key(pem)
    except ValueError:
        raise MissingSecret(
            f"{option} is not the private key of Ed25519 in PEM; make one with: openssl genpkey -algorithm ed25519"
        ) from None
