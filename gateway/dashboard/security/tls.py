"""The certificate of the page, for its server (IEC 62443-4-2, CR 1.8, 3.1 and 4.1), renewed while it runs.

A certificate of an own authority lives for weeks. New files are read without a restart: new connections get the new
certificate, and those that are open go on with the certificate that they began with.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from cryptography import x509

from drivers.tls import load_pair
from gateway.common.setting_types import MissingSecret
from gateway.settings.reload import looks_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.settings.dashboard_section import DashboardTls

log = structlog.get_logger(__name__)

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""The ciphers of TLS 1.2: authenticated, with forward secrecy (RFC 9325, clause 4.2). TLS 1.3 has its own."""

LOOK_EVERY = 5.0
"""Seconds between two looks at the files; changed files are read when they have stayed the same for that long."""


class Renewal(NamedTuple):
    """The file, the serial number in use (hexadecimal), and why new files are not used; empty where they are."""

    file: str
    serial: str
    problem: str


class Certificate:
    """The certificate and key of `dashboard.tls`, as they are in the files.

    `on_renewal` is called when new files are used, and when they can't be. Raises `OSError` that names the file if
    the first certificate and its key can't be used, and `MissingSecret`.
    """

    def __init__(self, tls: DashboardTls, on_renewal: Callable[[Renewal], None] = lambda _: None) -> None:
        self._tls = tls
        self._on_renewal = on_renewal
        self._read = looks_of((tls.certificate, tls.key))
        self._context, self.serial = _load(tls)
        self._server = self._context
        self._server.sni_callback = self._choose
        self._asked = asyncio.Event()
        self.refused = 0
        """Attempts since the start that found files that can't be used."""
        self.problem = ""
        """Why the files that are there now are not used; empty if they are."""

    def options(self) -> dict[str, Any]:
        """Return the arguments of the server for TLS."""
        return {"ssl_context_factory": lambda *_: self._server}

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
            now = await asyncio.to_thread(looks_of, (self._tls.certificate, self._tls.key))
            # certificate and key are replaced one after the other: files that change still are not read yet
            if self._asked.is_set() or (now != self._read and now == before):
                self._asked.clear()
                self._read = now
                await self._renew()
            before = now

    async def _renew(self) -> None:
        """Use the files for new connections; if that is not possible, the certificate from before stays."""
        try:
            context, serial = await asyncio.to_thread(_load, self._tls)
        except (OSError, MissingSecret) as error:
            self._refuse(str(error))
            return
        changed = serial != self.serial or self.problem != ""
        self._context, self.serial, self.problem = context, serial, ""
        if changed:
            file = str(self._tls.certificate)
            log.info("dashboard.certificate_renewed", certificate=file, serial=serial)
            self._on_renewal(Renewal(file, serial, ""))

    def _refuse(self, problem: str) -> None:
        self.refused += 1
        if problem == self.problem:
            return
        self.problem, file = problem, str(self._tls.certificate)
        hint = "the certificate from before stays in use; correct the files"
        log.warning("dashboard.certificate_refused", certificate=file, error=problem, hint=hint)
        self._on_renewal(Renewal(file, self.serial, problem))

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _server: ssl.SSLContext) -> None:
        """Give a connection the newest certificate, before the server sends it; also without a name (RFC 6066)."""
        if self._context is not self._server:
            connection.context = self._context


def _load(tls: DashboardTls) -> tuple[ssl.SSLContext, str]:
    """Return a context with the certificate and the key of the files, and the serial number.

    Raises `OSError` that names the file, and `MissingSecret`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    load_pair(context, tls.certificate, tls.key, tls.key_password, "dashboard.tls.")
    try:
        serial = x509.load_pem_x509_certificate(tls.certificate.read_bytes()).serial_number
    except ValueError as error:
        raise OSError(0, f"the certificate can't be used: {error}", str(tls.certificate)) from None
    return context, f"{serial:x}"
