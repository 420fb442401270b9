"""TLS toward a broker, a device, a store, an identity provider or a SIEM: whom we trust, and who we are."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, NamedTuple, Protocol

from drivers.private_key import KeyFile, load_private_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from drivers.secret import Secret

NO_LIST, LIST_NOT_YET_VALID, LIST_EXPIRED, REVOKED = 3, 11, 12, 23
"""The results of OpenSSL's verification that are about revocation (X509_V_ERR_UNABLE_TO_GET_CRL and so on)."""

_LIST = b"-----BEGIN X509 CRL-----"
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"


class TlsFileError(OSError):
    """A file of TLS can't be used. The text names its key of the configuration, and never contains a secret.

    `is_away` if it can't be read: it is being replaced, or its folder is not mounted yet.
    """

    def __init__(self, message: str, *, is_away: bool = False) -> None:
        super().__init__(message)
        self.is_away = is_away


class TlsFiles(NamedTuple):
    """The files of one end of connections: trusted authorities, their revocation lists, and our certificate."""

    ca: Path | None = None
    crl: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    key_password: Secret | None = None


class _NamesTlsFiles(Protocol):
    @property
    def ca(self) -> Path | None: ...
    @property
    def crl(self) -> Path | None: ...
    @property
    def certificate(self) -> Path | None: ...
    @property
    def key(self) -> Path | None: ...
    @property
    def key_password(self) -> Secret | None: ...


class WithTlsFiles:
    """For settings of connections with `ca`, `crl`, `certificate`, `key` and `key_password`."""

    @property
    def tls_files(self: _NamesTlsFiles) -> TlsFiles:
        """The files of a connection with TLS."""
        return TlsFiles(self.ca, self.crl, self.certificate, self.key, self.key_password)

    @property
    def key_files(self: _NamesTlsFiles) -> Sequence[KeyFile]:
        """The file of the key, if there is one."""
        return () if self.key is None else (KeyFile("key", self.key, "key_password", self.key_password),)


def check_pair(certificate: Path | None, key: Path | None, key_password: Secret | None) -> None:
    """Check that a certificate, its key and the key's password go together. Raises `ValueError`."""
    if (certificate is None) != (key is None):
        raise ValueError("a certificate needs its key, and a key its certificate")
    if key_password is not None and key is None:
        raise ValueError("key_password is for a key; write certificate and key")


def client_context(files: TlsFiles, section: str = "") -> ssl.SSLContext:
    """Return the context of a client: TLS 1.2 or newer, the certificate and the host name of the server verified.

    `section` is where the keys are in the configuration, as in `broker`, or how they begin, as in
    `dashboard.audit.syslog_`. Raises `TlsFileError` where a file can't be used, and `MissingSecret`.
    """
    prefix = section if not section or section.endswith("_") else f"{section}."
    try:
        # an own CA replaces those of the system: else each of them could vouch for the server
        context = ssl.create_default_context(cafile=files.ca)
    except OSError as error:
        raise _unusable(f"{prefix}ca", files.ca, error) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if files.crl is not None:
        _load_revocations(context, files.crl, f"{prefix}crl")
    if files.certificate is not None and files.key is not None:
        load_pair(context, files.certificate, files.key, files.key_password, prefix)
    return context


def load_pair(
    context: ssl.SSLContext, certificate: Path, key: Path, key_password: Secret | None, prefix: str = ""
) -> None:
    """Load our certificate and its key. Raises `TlsFileError` and `MissingSecret`."""
    names = f"{prefix}certificate and {prefix}key"
    password = None if key_password is None else key_password.reveal()
    content = b""
    for name, file in (("certificate", certificate), ("key", key)):
        try:
            content = file.read_bytes()
        except OSError as error:
            raise _unusable(f"{prefix}{name}", file, error) from error
    try:
        # without a password OpenSSL asks at the terminal
        context.load_cert_chain(certificate, key, password=password or "")
    except (ssl.SSLError, ValueError) as error:
        try:
            load_private_key(content, password, f"{prefix}key_password")
        except ValueError as of_key:
            raise TlsFileError(f"{prefix}key ({key}): {of_key}") from None
        reason = getattr(error, "reason", None)
        text = str(reason).replace("_", " ").lower() if reason else f"{certificate} is not a PEM certificate"
        raise TlsFileError(f"{names} ({certificate}, {key}): {text}") from None


def _load_revocations(context: ssl.SSLContext, file: Path, name: str) -> None:
    """Load revocation lists, and demand one of each authority of a server's chain. Raises `TlsFileError`."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise _unusable(name, file, error) from error
    if _CERTIFICATE in content:
        # OpenSSL would trust it
        raise TlsFileError(f"{name} ({file}): it has a certificate; write that into ca, and lists alone into crl")
    if _LIST not in content:
        raise TlsFileError(
            f"{name} ({file}): it is not a PEM file with a revocation list; a list in DER becomes one by openssl crl "
            "-inform DER -in FILE -out FILE.pem"
        )
    try:
        context.load_verify_locations(cafile=file)
    except ssl.SSLError as error:
        raise _unusable(name, file, error) from error
    context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_CHAIN


def revocation_problem(error: ssl.SSLCertVerificationError, crl: Path | None) -> str:
    """Return why a certificate is refused, if the reason is a revocation or a revocation list; else empty."""
    return {
        REVOKED: "its certificate was revoked by its authority",
        LIST_EXPIRED: f"the revocation list in {crl} has expired; put the authority's present list there",
        LIST_NOT_YET_VALID: f"the revocation list in {crl} is not valid yet; check this machine's clock",
        NO_LIST: f"{crl} has no revocation list of an authority that vouches for its certificate; add that list",
    }.get(error.verify_code, "")


def _unusable(name: str, file: Path | None, error: OSError) -> TlsFileError:
    if isinstance(error, ssl.SSLError):
        return TlsFileError(f"{name} ({file}): {error.reason or error}")
    return TlsFileError(f"{name} ({file}): {error.strerror or error}", is_away=True)
