"""The server of metrics is bounded in everything that a client can do, and a client that means it gets its answer."""

from __future__ import annotations

import socket
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from http.client import HTTPConnection
from typing import TYPE_CHECKING

import pytest
from processes import until

from gateway.metrics import http_server
from gateway.metrics.http_server import MAX_CONNECTIONS, MAX_HEAD, HttpServer, Request, Response

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "127.0.0.1"
SECONDS = 20.0
LARGE = 32 * 2**20


async def echo(request: Request) -> Response:
    """Answer with the path."""
    if request.path == "/large":
        return Response(HTTPStatus.OK, "text/plain", b"x" * LARGE)
    return Response(HTTPStatus.OK, "text/plain", f"{request.path} {request.accept}".encode())


@contextmanager
def running() -> Iterator[tuple[int, HttpServer]]:
    """Serve `echo`, and yield the port and the server."""
    listening = socket.create_server((HOST, 0))
    listening.settimeout(0.0)  # not blocking
    server = HttpServer(listening, echo)
    server.start()
    try:
        yield listening.getsockname()[1], server
    finally:
        server.stop()


@contextmanager
def served() -> Iterator[int]:
    """Serve `echo`, and yield the port."""
    with running() as (port, _):
        yield port


def get(port: int, path: str = "/") -> tuple[int, bytes]:
    connection = HTTPConnection(HOST, port, timeout=SECONDS)
    try:
        connection.request("GET", path, headers={"Accept": "text/plain"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def exchange(port: int, sent: bytes) -> bytes:
    """Send bytes, and return all that comes until the server closes the connection."""
    with socket.create_connection((HOST, port), timeout=SECONDS) as client:
        client.sendall(sent)
        found = b""
        while part := client.recv(65536):
            found += part
        return found


def connect(stack: ExitStack, port: int, sent: bytes = b"") -> socket.socket:
    client = stack.enter_context(socket.create_connection((HOST, port), timeout=SECONDS))
    client.sendall(sent)
    return client


def received(client: socket.socket) -> int:
    """Return the number of bytes that come until the server has closed a connection."""
    size = 0
    try:
        while part := client.recv(2**20):
            size += len(part)
    except ConnectionResetError:
        pass
    return size


def is_closed(client: socket.socket) -> bool:
    """Wait until the server has closed a connection."""
    received(client)
    return True


def test_a_request_is_answered_and_the_query_is_left_out():
    with served() as port:
        assert get(port, "/metrics?match[]=up") == (200, b"/metrics text/plain")


def test_a_connection_serves_many_requests():
    """Prometheus keeps it open."""
    with served() as port:
        connection = HTTPConnection(HOST, port, timeout=SECONDS)
        for _ in range(3):
            connection.request("GET", "/again")
            assert connection.getresponse().read() == b"/again "
        connection.close()


def test_head_has_the_length_and_no_body():
    with served() as port:
        answer = exchange(port, b"HEAD /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"\r\n\r\n")
        assert b"Content-Length: 3\r\n" in answer


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"POST / HTTP/1.1\r\nHost: h\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\nContent-Length: 9\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n folded: yes\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * 4 * MAX_HEAD + b"\r\n\r\n", 431),
        (b"a" * 4 * MAX_HEAD, 431),
    ],
)
def test_other_requests_are_refused_and_the_connection_is_closed(sent: bytes, status: int):
    """A request with a body could be the begin of another."""
    with served() as port:
        assert exchange(port, sent).startswith(f"HTTP/1.1 {status} ".encode())
        assert get(port)[0] == 200


def test_a_client_that_stops_in_a_request_is_closed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http_server, "REQUEST_SECONDS", 0.2)
    with served() as port, ExitStack() as stack:
        client = connect(stack, port, b"GET / HT")
        assert is_closed(client)
        assert get(port)[0] == 200


def test_a_client_that_sends_a_byte_at_a_time_has_no_longer(monkeypatch: pytest.MonkeyPatch):
    """The limit is of the whole request, so that single bytes do not prolong it."""
    monkeypatch.setattr(http_server, "REQUEST_SECONDS", 0.3)
    with served() as port, ExitStack() as stack:
        client = connect(stack, port, b"G")
        client.settimeout(0.02)
        sent = 1
        while sent < 1000:
            try:
                client.sendall(b"a")
                sent += 1
                if client.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        assert sent < 200


def test_a_connection_that_sends_nothing_is_closed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http_server, "IDLE_SECONDS", 0.2)
    with served() as port, ExitStack() as stack:
        assert is_closed(connect(stack, port))


def test_a_flood_of_half_open_connections_makes_room_for_a_request():
    """The oldest idle connections are closed, and never so many are open that the process has no descriptors left."""
    with served() as port, ExitStack() as stack:
        silent = [connect(stack, port, b"GET" if n % 2 else b"") for n in range(3 * MAX_CONNECTIONS)]
        assert get(port)[0] == 200
        assert is_closed(silent[0])


@pytest.mark.slow
async def test_a_client_that_does_not_read_costs_others_nothing(monkeypatch: pytest.MonkeyPatch):
    """Its response waits in its socket, and then its connection is closed with the rest unsent."""
    monkeypatch.setattr(http_server, "SEND_SECONDS", 1.0)
    with running() as (port, server), ExitStack() as stack:
        request = b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n"
        lazy = [connect(stack, port, request) for _ in range(http_server.MAX_SENDING - 1)]
        assert get(port)[0] == 200
        await until(lambda: not server.connections, "the connections are closed", SECONDS)
        assert all(received(client) < LARGE for client in lazy)


async def test_the_event_loop_that_started_the_server_is_not_used():
    """Requests are answered while it is blocked, as by this test."""
    with served() as port:
        assert get(port)[0] == 200


def test_stopping_ends_connections():
    with ExitStack() as stack:
        with served() as port:
            client = connect(stack, port)
            assert get(port)[0] == 200
        assert is_closed(client)
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((HOST, port), timeout=1)
