"""The certificate of a server of ours (IEC 62443-4-2, CR 1.8, 3.1 and 4.1), renewed while it runs.

A certificate of an own authority lives for weeks. New files are read without a restart: new connections get the new
certificate, and those that are open go on with the certificate that they began with.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, NamedTuple

from drivers.secret import MissingSecret
from drivers.tls import load_pair
from gateway.common.file_looks import looks_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from drivers.secret import Secret

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""The ciphers of TLS 1.2: authenticated, with forward secrecy (RFC 9325, clause 4.2). TLS 1.3 has its own."""

LOOK_EVERY = 5.0
"""Seconds between two looks at the files; changed files are read when they have stayed the same for that long."""


class ServerFiles(NamedTuple):
    """The files of a server: its certificate with its key, and the authority of its clients.

    With `client_ca` a client needs a certificate of that authority. `section` is the place of the keys in the
    configuration, as in `dashboard.tls`.
    """

    section: str
    certificate: Path
    key: Path
    key_password: Secret | None = None
    client_ca: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """The paths of the files."""
        return (self.certificate, self.key, *(() if self.client_ca is None else (self.client_ca,)))


class Renewal(NamedTuple):
    """The file, the serial number in use (hexadecimal), and why new files are not used; empty where they are."""

    file: str
    serial: str
    problem: str


class ServerCertificate:
    """The certificate and key of a server, as they are in the files.

    `on_renewal` is called when new files are used, and when they can't be. Raises `OSError` that names the file if
    the first certificate and its key can't be used, and `MissingSecret`.
    """

    def __init__(self, files: ServerFiles, on_renewal: Callable[[Renewal], None]) -> None:
        self._files = files
        self._on_renewal = on_renewal
        self._read = looks_of(files.paths)
        self._newest, self.serial = _load(files)
        self.context = self._newest
        """The context of the server, which gives each connection the newest certificate."""
        self.context.sni_callback = self._choose
        self._asked = asyncio.Event()
        self.refused = 0
        """Attempts since the start that found files that can't be used."""
        self.problem = ""
        """Why the files that are there now are not used; empty if they are."""

    def ask(self) -> None:
        """Let `watch` read the files now, also if they look as before."""
        self._asked.set()

    async def watch(self, every: float = LOOK_EVERY) -> None:
        """Read the files when they have changed, or when somebody asks, until cancelled."""
        before = self._read
        while True:
            try:
                async with asyncio.timeout(every):
                    await self._asked.wait()
            except TimeoutError:
                pass
            now = await asyncio.to_thread(looks_of, self._files.paths)
            # certificate and key are replaced one after the other: files that change still are not read yet
            if self._asked.is_set() or (now != self._read and now == before):
                self._asked.clear()
                self._read = now
                await self._renew()
            before = now

    async def _renew(self) -> None:
        """Use the files for new connections; if that is not possible, the certificate from before stays."""
        try:
            context, serial = await asyncio.to_thread(_load, self._files)
        except (OSError, MissingSecret) as error:
            self._refuse(str(error))
            return
        changed = serial != self.serial or self.problem != ""
        self._newest, self.serial, self.problem = context, serial, ""
        if changed:
            self._on_renewal(Renewal(str(self._files.certificate), serial, ""))

    def _refuse(self, problem: str) -> None:
        self.refused += 1
        if problem == self.problem:
            return
        self.problem = problem
        self._on_renewal(Renewal(str(self._files.certificate), self.serial, problem))

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _server: ssl.SSLContext) -> None:
        """Give a connection the newest certificate, before the server sends it; also without a name (RFC 6066)."""
        if self._newest is not self.context:
            connection.context = self._newest


def _load(files: ServerFiles) -> tuple[ssl.SSLContext, str]:
    """Return a context with the certificate and the key of the files, and the serial number.

    Raises `OSError` that names the file, and `MissingSecret`.
    """
    from cryptography import x509  # noqa: PLC0415 - slow to import, for servers with TLS alone

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # a client could make the server compute without end
    context.set_ciphers(CIPHERS)
    load_pair(context, files.certificate, files.key, files.key_password, f"{files.section}.")
    if files.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        # without tickets each connection is verified; TLS 1.2 would also go on with a session from memory
        context.minimum_version, context.num_tickets = ssl.TLSVersion.TLSv1_3, 0
        _trust(context, files.client_ca, f"{files.section}.client_ca")
    try:
        serial = x509.load_pem_x509_certificate(files.certificate.read_bytes()).serial_number
    except ValueError as error:
        raise OSError(0, f"the certificate can't be used: {error}", str(files.certificate)) from None
    return context, f"{serial:x}"


def _trust(context: ssl.SSLContext, authority: Path, name: str) -> None:
    """Trust the clients of an authority. Raises `OSError` that names the key and the file."""
    try:
        context.load_verify_locations(cafile=authority)
    except OSError as error:  # also `ssl.SSLError`
        reason = error.strerror or str(error)
        if isinstance(error, ssl.SSLError):
            reason = "it is not a PEM file with the certificate of an authority"
        raise OSError(error.errno or 0, f"{name}: {reason}", str(authority)) from None
