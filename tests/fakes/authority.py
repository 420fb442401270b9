"""A certificate authority of a test, and what it signs."""

from __future__ import annotations

import datetime as dt
import ipaddress
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path


class Pair(NamedTuple):
    """A certificate's file and its key's."""

    certificate: Path
    key: Path


class Authority:
    """A CA that signs every certificate that it is asked for."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(*(flag in {5, 6} for flag in range(9)))  # of nine, those to sign certificates and lists
        builder = self._begin(self._name, self._key).add_extension(usage, critical=True)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def _begin(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, days: int = 30) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(self._name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
        )
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        begin, end = sorted((now + dt.timedelta(days=days), now - dt.timedelta(days=60)))
        return builder.not_valid_before(begin).not_valid_after(end)

    def revocations(self, *revoked: Pair, hours: float = 24.0) -> bytes:
        """Return the revocation list (PEM) with these certificates; it ends in `hours` from now, or has ended."""
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._name)
        builder = builder.last_update(now - dt.timedelta(days=2)).next_update(now + dt.timedelta(hours=hours))
        for one in revoked:
            serial = x509.load_pem_x509_certificate(one.certificate.read_bytes()).serial_number
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def pair(self, name: str, host: str | None = None, days: int = 30, password: bytes | None = None) -> Pair:
        """Return a certificate of a host name or address; with negative `days` it has ended."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._begin(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key, days)
        if host is not None:
            try:
                alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
            except ValueError:
                alternative = x509.DNSName(host)
            builder = builder.add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        pair = Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        pair.certificate.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(encoding))
        pair.key.write_bytes(key.private_bytes(encoding, form, lock))
        return pair
