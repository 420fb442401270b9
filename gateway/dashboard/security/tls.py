"""The certificate of the page, for its server (IEC 62443-4-2, CR 1.8, 3.1 and 4.1)."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from gateway.common.setting_types import MissingSecret

if TYPE_CHECKING:
    from gateway.settings.dashboard_section import DashboardTls

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""The ciphers of TLS 1.2: authenticated, with forward secrecy (RFC 9325, clause 4.2). TLS 1.3 has its own."""


def tls_options(tls: DashboardTls | None) -> dict[str, Any]:
    """Return the arguments of the server for TLS, none without.

    Raises `OSError` that names the file if the certificate and the key can't be used, and `MissingSecret`.
    """
    if tls is None:
        return {}
    password = None if tls.key_password is None else tls.key_password.reveal()
    for file in (tls.certificate, tls.key):
        with file.open("rb"):  # or the error does not name the file
            pass
    try:
        # without a password OpenSSL asks at the terminal
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.certificate, tls.key, password or _missing)
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error)
        message = f"the certificate and the key {tls.key} can't be used: {str(reason).replace('_', ' ').lower()}"
        raise OSError(0, message, str(tls.certificate)) from None
    return {
        "ssl_certfile": str(tls.certificate), "ssl_keyfile": str(tls.key), "ssl_keyfile_password": password,
        "ssl_ciphers": CIPHERS,
    }  # fmt: skip


def _missing() -> str:
    raise MissingSecret("the key of dashboard.tls has a password; write key_password: {secret: NAME}")
