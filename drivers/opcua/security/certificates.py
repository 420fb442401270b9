"""Reads application instance certificates (Part 6, 6.2.2), and makes our own certificate.

This module does not import asyncua, so that commands about certificates start fast.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from drivers.private_key import load_private_key

if TYPE_CHECKING:
    from collections.abc import Callable

KEY_BITS = 2048
"""The minimum key length of every supported policy (Part 7, 6.6)."""

LEGACY_KEY_BITS = 1024
"""The minimum key length of the deprecated policies."""

VALID_FOR = dt.timedelta(days=3650)
"""Ten years: people make each server trust this certificate by hand."""


class Names(NamedTuple):
    """The names in a certificate: application URIs, host names in lower case, and addresses."""

    uris: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    addresses: tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...] = ()

    def covers(self, host: str) -> bool:
        """Return True if a host name or address is among them."""
        if host.lower() in self.hosts:  # some devices put their address there as text
            return True
        try:
            return ipaddress.ip_address(host) in self.addresses
        except ValueError:
            return False

    def __str__(self) -> str:
        return ", ".join([*self.hosts, *map(str, self.addresses)]) or "none"


def thumbprint(certificate: x509.Certificate) -> str:
    """Return the thumbprint: the SHA-1 of a certificate in 40 hexadecimal digits (Part 4, 7.2)."""
    return certificate.fingerprint(hashes.SHA1()).hex()  # noqa: S303 - a name; trust compares the whole certificate


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the fingerprint by which a certificate is trusted: its SHA-256 in 64 hexadecimal digits."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def verifies_itself(certificate: x509.Certificate) -> bool:
    """Return False if a self-signed certificate was damaged or forged: its own key did not sign it.

    True for a certificate of another issuer. Signatures with SHA-1 count; others judge whether they are accepted.
    """
    if certificate.issuer != certificate.subject:
        return True
    key, algorithm = certificate.public_key(), certificate.signature_hash_algorithm
    try:
        if isinstance(algorithm, hashes.SHA1) and isinstance(key, rsa.RSAPublicKey):
            # the library verifies no certificate with it
            key.verify(certificate.signature, certificate.tbs_certificate_bytes, padding.PKCS1v15(), algorithm)
        else:
            certificate.verify_directly_issued_by(certificate)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def in_time(certificate: x509.Certificate, now: dt.datetime) -> bool:
    """Return whether a certificate is valid at a time."""
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


def when_valid(certificate: x509.Certificate, now: dt.datetime) -> str:
    """Return that a certificate has expired, or from when on it is valid, beside the time of this machine."""
    if now > certificate.not_valid_after_utc:
        return f"expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC; it is {now:%Y-%m-%d %H:%M} here"
    return f"is valid from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC; it is {now:%Y-%m-%d %H:%M} here"


def printable(text: str) -> str:
    """Return text of a certificate without control characters, since any peer can make a terminal or log show it."""
    return "".join(one if one.isprintable() else "?" for one in text)


def common_name(name: x509.Name) -> str:
    """Return the common name of a subject or issuer, its whole name if it has none."""
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return printable(str(found[0].value) if found else name.rfc4514_string())


def names(certificate: x509.Certificate) -> Names:
    """Return the names of a certificate. Raises `ValueError` if its extensions are malformed."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return Names()
    addresses = found.get_values_for_type(x509.IPAddress)
    return Names(
        tuple(found.get_values_for_type(x509.UniformResourceIdentifier)),
        tuple(host.lower() for host in found.get_values_for_type(x509.DNSName)),
        tuple(one for one in addresses if isinstance(one, ipaddress.IPv4Address | ipaddress.IPv6Address)),
    )


def read_chain(blob: bytes) -> list[x509.Certificate]:
    """Return the certificates of a chain in DER, the application's certificate first (Part 6, 6.2.3).

    Raises `ValueError` if the bytes are not such a chain.
    """
    found = []
    while blob:
        # an outer SEQUENCE whose length has two bytes, as in every certificate with a key of 2048 bits
        if blob[:2] != b"\x30\x82":
            raise ValueError("the server sent bytes that are not a certificate")
        end = 4 + int.from_bytes(blob[2:4], "big")
        found.append(x509.load_der_x509_certificate(blob[:end]))
        blob = blob[end:]
    return found


def read_file(content: bytes) -> x509.Certificate:
    """Return the certificate in a file, DER or PEM. Raises `ValueError` if there is no certificate."""
    if content.lstrip().startswith(b"-----"):
        return x509.load_pem_x509_certificate(content)
    return x509.load_der_x509_certificate(content)


def read_crl(content: bytes) -> x509.CertificateRevocationList:
    """Return the revocation list in a file, DER or PEM. Raises `ValueError` if there is no list."""
    if content.lstrip().startswith(b"-----"):
        return x509.load_pem_x509_crl(content)
    return x509.load_der_x509_crl(content)


@lru_cache(maxsize=8)  # a check takes tens of milliseconds, at each connection
def read_key(content: bytes, password: str | None = None, option: str = "key_password") -> rsa.RSAPrivateKey:
    """Return the RSA key in a PEM file; `option` names the password. Raises `ValueError` without a usable key."""
    key = load_private_key(content, password, option)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("it is not an RSA key, which the security policies require")  # noqa: TRY004 - of a file
    return key


def make_key(password: str | None = None) -> bytes:
    """Return a new private key as PEM, locked if there is a password; takes some tenths of a second."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    locked = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked)


def make_certificate(
    key: rsa.RSAPrivateKey,
    host: str | None = None,
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
) -> bytes:
    """Return a certificate of this gateway on this host for a key, signed with the same key, as DER."""
    host = host or socket.gethostname()
    called = x509.NameAttribute(NameOID.COMMON_NAME, f"Lineside on {host}"[:64])
    name = x509.Name([called, x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Lineside")])
    public = key.public_key()
    # Part 6, 6.2.2: these four, and keyCertSign for a self-signed certificate
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=True, key_encipherment=True, data_encipherment=True,
        key_cert_sign=True, key_agreement=False, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    alternative = [x509.UniformResourceIdentifier(f"urn:{host}:lineside:gateway"), x509.DNSName(host)]
    begin = now()
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        # an hour earlier: a server's clock may be behind ours
        .not_valid_before(begin - dt.timedelta(hours=1))
        .not_valid_after(begin + VALID_FOR)
        .add_extension(x509.SubjectAlternativeName(alternative), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
