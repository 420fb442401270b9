"""The private key that commands of the page and of the command line are signed with."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def private_key(pem: bytes) -> Ed25519PrivateKey:
    """Return the private key of Ed25519 in a text in PEM (PKCS#8). Raises `ValueError`."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - for signed commands alone
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415 - as above

    try:
        found = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(str(error)) from None
    if not isinstance(found, ed25519.Ed25519PrivateKey):
        raise ValueError("is not a key of Ed25519")  # noqa: TRY004 - of a file
    return found
