"""A TLS server in front of a server without TLS, as the proxy of a plant: it may demand certificates of clients."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from processes import LOOPBACK

if TYPE_CHECKING:
    from types import TracebackType

    from fakes.authority import Authority, Pair


class TlsProxy:
    """A port of the loopback with TLS, behind which is another port without.

    `shown` is its certificate; `demands` is who must have signed that of a client. `names` are the common names of
    the clients that were let in.
    """

    def __init__(self, target: int, shown: Pair, demands: Authority | None = None, port: int = 0) -> None:
        """Prepare and listen; connections are accepted between `__enter__` and `__exit__`."""
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=demands.file if demands else None)
        self._context.load_cert_chain(*shown)
        if demands is not None:
            self._context.verify_mode = ssl.CERT_REQUIRED
        self.names: list[str] = []
        self._open: list[ssl.SSLSocket] = []
        proxy = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                proxy._serve(self.request, target)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        self._server = Server((LOOPBACK, port), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def url(self) -> str:
        return f"https://{LOOPBACK}:{self.port}"

    def _serve(self, plain: socket.socket, target: int) -> None:
        try:
            secured = self._context.wrap_socket(plain, server_side=True)
        except OSError:
            return
        with secured, socket.create_connection((LOOPBACK, target)) as behind:
            self._open.append(secured)
            subject = (secured.getpeercert() or {}).get("subject", ())
            self.names += [str(value) for part in subject for name, value in part if name == "commonName"]
            back = threading.Thread(target=_pump, args=(behind, secured), daemon=True)
            back.start()
            _pump(secured, behind)
            back.join()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._server.server_close()
        self._thread.join()


def _pump(source: socket.socket, to: socket.socket) -> None:
    with suppress(OSError):
        while part := source.recv(2**16):
            to.sendall(part)
    with suppress(OSError):
        to.shutdown(socket.SHUT_WR)
