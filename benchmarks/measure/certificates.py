"""Certificates of a plant for a measurement: an authority, a server at the loopback interface, and a client."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from simulators.ports import LOOPBACK

if TYPE_CHECKING:
    from pathlib import Path

    Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

KINDS = ("P-256", "RSA 2048")
"""The keys that certificates of plants have, the usual kind first."""


class Pair(NamedTuple):
    """The files of a certificate and of its key, both in PEM."""

    certificate: Path
    key: Path


class Certificates(NamedTuple):
    """The certificate of the authority, and the pairs of a server and of a client that it has signed."""

    authority: Path
    server: Pair
    client: Pair


def make_certificates(folder: Path, kind: str = KINDS[0]) -> Certificates:
    """Write certificates with keys of a kind into a folder; all are valid for a day."""
    key, name = _key(kind), _name("authority")
    now = datetime.now(UTC)

    def made(of: str, public: Key, *extensions: x509.ExtensionType) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder().subject_name(_name(of)).issuer_name(name).public_key(public.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
        )  # fmt: skip
        for one in extensions:
            builder = builder.add_extension(one, critical=isinstance(one, x509.BasicConstraints))
        return builder.sign(key, hashes.SHA256())

    authority = folder / "authority.pem"
    root = made("authority", key, x509.BasicConstraints(ca=True, path_length=0))
    authority.write_bytes(root.public_bytes(Encoding.PEM))

    def pair(of: str, usage: x509.ObjectIdentifier) -> Pair:
        own = _key(kind)
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(LOOPBACK))])
        certificate = made(of, own, names, x509.ExtendedKeyUsage([usage]),
                           x509.BasicConstraints(ca=False, path_length=None))  # fmt: skip
        files = Pair(folder / f"{of}.pem", folder / f"{of}.key")
        files.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
        files.key.write_bytes(own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        files.key.chmod(0o600)
        return files

    return Certificates(
        authority, pair("server", ExtendedKeyUsageOID.SERVER_AUTH), pair("client", ExtendedKeyUsageOID.CLIENT_AUTH)
    )


def _key(kind: str) -> Key:
    if kind == KINDS[0]:
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(65_537, 2048)


def _name(of: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, of)])
