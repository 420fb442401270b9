"""The benchmark of metrics scrapes over the connections that it says, with and without TLS."""

from __future__ import annotations

import ssl
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, NamedTuple

import pytest
from measure.certificates import KINDS, make_certificates
from measure.processes import Failed
from metrics import BASE, Found, Scraper, Scrapes, Variant, connections, context_of, print_scrapes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCRAPES = 4


class Served(NamedTuple):
    """A server, its connections so far, and an event that is set after `SCRAPES` requests."""

    port: int
    connections: list[object]
    enough: threading.Event


@contextmanager
def serving(context: ssl.SSLContext | None) -> Iterator[Served]:
    """Serve `/metrics` with HTTP/1.1, which keeps connections."""
    opened: list[object] = []
    requests: list[str] = []
    enough = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            opened.append(self.client_address)
            super().setup()

        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "3")
            self.end_headers()
            self.wfile.write(b"up\n")
            if len(requests) >= SCRAPES:
                enough.set()

        def log_message(self, *_: object) -> None:
            """Be silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield Served(server.server_address[1], opened, enough)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("keys", [None, *KINDS])
@pytest.mark.parametrize("kept", [True, False])
def test_connections_are_kept_or_made_for_each_scrape(tmp_path: Path, keys: str | None, *, kept: bool) -> None:
    """With TLS the server demands the certificate of the client, and the client verifies the server."""
    server, client = None, None
    if keys is not None:
        certificates = make_certificates(tmp_path, keys)
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates.authority)
        server.verify_mode = ssl.CERT_REQUIRED
        server.load_cert_chain(*certificates.server)
        client = context_of(certificates)
    with serving(server) as served:
        with Scraper(served.port, Variant(0.01, tls=keys is not None, kept=kept), client) as scraper:
            assert served.enough.wait(30)
        assert len(scraper.found.seconds) >= SCRAPES - 1
        assert scraper.found.size == 3
        assert (len(served.connections) == 1) is kept


def test_the_cost_of_a_scrape_is_the_difference_to_a_gateway_without(capsys: pytest.CaptureFixture[str]) -> None:
    """The median of the runs, in milliseconds of processor time."""
    scrapes = Scrapes([0.004], 51_000)
    found = {BASE: [Found(0.01, 0, Scrapes([], 0))] * 3}
    found |= {name: [Found(0.01 + cost, 20, scrapes) for cost in (0.002, 0.004, 0.003)] for name in connections(0.5)}
    print_scrapes(found, 10.0)
    rows = capsys.readouterr().out.splitlines()[2:]
    assert len(rows) == 4
    assert rows[-1] == "| new connection, TLS | 1.50 ms (1.00 to 2.00) | 4.0 ms | 2.0 | 51,000 |"
    found["new connection"] = [Found(0.01, 0, scrapes)] * 3
    with pytest.raises(Failed, match="nothing was scraped: new connection"):
        print_scrapes(found, 10.0)
