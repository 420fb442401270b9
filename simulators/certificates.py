"""Self-signed certificates of simulated devices, created for each run."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from simulators.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

VALID = timedelta(days=30)
KEY_BITS = 2048
"""Key length that every OPC UA policy accepts (OPC 10000-7, 6.6)."""


class Identity(NamedTuple):
    """A certificate (DER) and its key (PEM)."""

    certificate: bytes
    key: bytes


def self_signed(certificate: Path, key: Path) -> ssl.SSLContext:
    """Create a certificate for the loopback, write it (PEM) with its key, and return a server's TLS context."""
    from cryptography import x509  # noqa: PLC0415 - most configurations have no TLS
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    own = ec.generate_private_key(ec.SECP256R1())
    # an authority, so that a client that trusts it can verify it
    usage = x509.KeyUsage(True, False, False, False, False, True, False, False, False)  # noqa: FBT003 - positional there
    made = _certificate("Lineside simulator", own, [_name(LOOPBACK)], usage, authority=True)
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    write_private(key, _pem(own))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context


def application(name: str, uri: str, hosts: Iterable[str]) -> Identity:
    """Create an OPC UA application instance certificate (OPC 10000-6, 6.2.2); takes some tenths of a second."""
    from cryptography import x509  # noqa: PLC0415 - most configurations have no such server
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415

    own = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    usage = x509.KeyUsage(True, True, True, True, False, True, False, False, False)  # noqa: FBT003 - positional there
    names = [x509.UniformResourceIdentifier(uri), *map(_name, hosts)]
    made = _certificate(name, own, names, usage, authority=False)
    return Identity(made.public_bytes(serialization.Encoding.DER), _pem(own))


def write_private(file: Path, content: bytes) -> None:
    """Write a file that only its owner may read."""
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)
    file.write_bytes(content)


def _certificate(
    name: str,
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    names: list[x509.GeneralName],
    usage: x509.KeyUsage,
    *,
    authority: bool,
) -> x509.Certificate:
    from cryptography import x509  # noqa: PLC0415 - see above
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID  # noqa: PLC0415

    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH] if authority else [
        ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
    ]  # fmt: skip
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .sign(key, hashes.SHA256())
    )


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - see above

    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _name(host: str) -> x509.GeneralName:
    from cryptography import x509  # noqa: PLC0415 - see above

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
