"""TLS toward the broker: whom we trust, and who we are."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from drivers import tls

if TYPE_CHECKING:
    from gateway.settings.sections import BrokerSection


def client_context(broker: BrokerSection) -> ssl.SSLContext:
    """Return the context of a connection: TLS 1.2 or newer, the broker's certificate and host name verified.

    Raises `OSError` where a file can't be used, with the key of the configuration, and `MissingSecret`.
    """
    context = tls.client_context(broker.tls_files, "broker")
    context.sslsocket_class = _Socket
    return context


class _Socket(ssl.SSLSocket):
    """A socket that does not stay open when the other end is not trusted: the MQTT library forgets it then."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - as in the standard library
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise
