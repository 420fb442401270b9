"""TLS toward the broker: whom we trust, and who we are."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings.sections import BrokerSection


def client_context(broker: BrokerSection) -> ssl.SSLContext:
    """Return the context of a connection: TLS 1.2 or newer, the broker's certificate and host name verified.

    Raises `OSError` where a file can't be read or does not hold a certificate or key; the text names
    the key of the configuration.
    """
    try:
        # an own CA replaces those of the system: else each of them could vouch for the broker
        context = ssl.create_default_context(cafile=broker.ca)
    except OSError as error:
        raise _named("broker.ca", broker.ca, error) from error
    context.sslsocket_class = _Socket
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if broker.certificate is not None:
        try:
            # with a password, that it does not ask for one at a terminal
            context.load_cert_chain(broker.certificate, broker.key, password="")
        except OSError as error:
            raise _named("broker.certificate and broker.key", f"{broker.certificate}, {broker.key}", error) from error
    return context


class _Socket(ssl.SSLSocket):
    """A socket that does not stay open when the other end is not trusted: the MQTT library forgets it then."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - as in the standard library
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def _named(key: str, file: Path | str | None, error: OSError) -> OSError:
    reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
    return OSError(f"{key} ({file}): {reason or error}")
