"""Certificates of every kind, good and bad, as servers, authorities and users show them."""

from __future__ import annotations

import datetime as dt
import ipaddress
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
SERVER_URI = "urn:test:server"
APPLICATION = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment")
AUTHORITY = ("key_cert_sign", "crl_sign")
_USES = (*APPLICATION, "key_agreement", *AUTHORITY, "encipher_only", "decipher_only")


class Signed(NamedTuple):
    """A certificate and its key."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write certificate (DER) and key (PEM); returns where."""
        folder.mkdir(parents=True, exist_ok=True)
        files = folder / f"{name}.der", folder / f"{name}.pem"
        files[0].write_bytes(self.der)
        files[1].write_bytes(self.key_pem)
        return files


@cache
def key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """Return a key of this name, the same each time: making one takes a while."""
    assert name
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def make(
    name: str = "server",
    *,
    uris: Iterable[str] = (SERVER_URI,),
    hosts: Iterable[str | x509.GeneralName] = ("127.0.0.1",),
    issuer: Signed | None = None,
    days: tuple[float, float] = (-1, 30),
    ca: bool = False,
    path_length: int | None = None,
    usage: Iterable[str] | None = APPLICATION,
    extended: Iterable[x509.ObjectIdentifier] | None = (ExtendedKeyUsageOID.SERVER_AUTH,),
    algorithm: hashes.HashAlgorithm | None = None,
    bits: int = 2048,
    strange: bool = False,
    signed_with: rsa.RSAPrivateKey | None = None,
) -> Signed:
    """Return an application's certificate, or an authority's (`ca`), valid from and to `days` from now.

    `strange` adds a critical extension that nobody knows; `signed_with` signs with a key that is not the issuer's.
    """
    own = key(name, bits)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = signed_with or (issuer.key if issuer else own)
    begin, end = (NOW + dt.timedelta(days=day) for day in days)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
    )
    names = [*map(x509.UniformResourceIdentifier, uris), *map(_host, hosts)]
    if names and not ca:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if ca and usage == APPLICATION:
        usage = AUTHORITY
    if usage is not None:
        builder = builder.add_extension(x509.KeyUsage(**{use: use in usage for use in _USES}), critical=True)
    if extended is not None and not ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage([*extended]), critical=False)
    if strange:
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")
        builder = builder.add_extension(unknown, critical=True)
    return Signed(builder.sign(signer, algorithm or hashes.SHA256()), own)


_ALGORITHMS = {
    "sha256": bytes.fromhex("2a864886f70d01010b"),
    "sha1": bytes.fromhex("2a864886f70d010105"),
    "md5": bytes.fromhex("2a864886f70d010104"),
}
"""The object identifiers of RSA signatures, encoded."""


def weak(own: Signed, algorithm: str) -> Signed:
    """Return a self-signed certificate with a broken algorithm, which no library makes certificates with any more."""
    der = own.der.replace(_ALGORITHMS["sha256"], _ALGORITHMS[algorithm])
    signed = x509.load_der_x509_certificate(der).tbs_certificate_bytes
    hash_ = {"sha1": hashes.SHA1(), "md5": hashes.MD5(), "sha256": hashes.SHA256()}[algorithm]  # noqa: S303
    signature = own.key.sign(signed, padding.PKCS1v15(), hash_)
    return Signed(x509.load_der_x509_certificate(der[: -len(signature)] + signature), own.key)


def damaged(own: Signed) -> Signed:
    """Return a certificate whose signature is wrong, as that of a certificate which somebody changed."""
    der = own.der
    return Signed(x509.load_der_x509_certificate(der[:-1] + bytes([der[-1] ^ 1])), own.key)


def _host(name: str | x509.GeneralName) -> x509.GeneralName:
    if isinstance(name, x509.GeneralName):
        return name
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def revocations(
    issuer: Signed, *revoked: Signed, days: tuple[float, float] = (-1, 30), signer: Signed | None = None
) -> x509.CertificateRevocationList:
    """Return an authority's revocation list; `signer` forges it."""
    begin, end = (NOW + dt.timedelta(days=day) for day in days)
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.certificate.subject)
    builder = builder.last_update(begin).next_update(end)
    for one in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(one.certificate.serial_number).revocation_date(begin)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign((signer or issuer).key, hashes.SHA256())
