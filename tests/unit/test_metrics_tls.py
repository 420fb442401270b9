"""Metrics over TLS, with real certificates on real sockets: who may read them, and what hostile clients achieve."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from http.client import HTTPSConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from fakes.certificates import Signed, make
from processes import free_port, until
from structlog.testing import capture_logs

from gateway.common import server_certificate
from gateway.common.server_certificate import ServerCertificate, ServerFiles
from gateway.metrics import endpoint, http_server
from gateway.metrics.endpoint import MetricsEndpoint, Sources
from gateway.metrics.http_server import HttpServer, Request, Response
from gateway.settings.exposure import exposure_warnings
from gateway.settings.load import load_factory
from gateway.settings.locked_keys import key_problems
from gateway.settings.sections import Endpoint, MetricsTls

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST, SECONDS = "127.0.0.1", 20.0
CLIENT = (ExtendedKeyUsageOID.CLIENT_AUTH,)
LARGE = 16 * 2**20

PLANT, OTHER = make("plant authority", ca=True, path_length=0), make("other authority", ca=True, path_length=0)
SERVER = make("edge-01", issuer=PLANT, uris=())


def write(folder: Path, name: str, own: Signed, password: bytes = b"") -> tuple[Path, Path]:
    """Write a certificate and its key, both in PEM."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    certificate.write_bytes(own.certificate.public_bytes(Encoding.PEM))
    locked = own.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"p" + password))
    key.write_bytes(locked if password else own.key_pem)
    return certificate, key


def client(folder: Path, own: Signed | None = None, **keys: Any) -> ssl.SSLContext:
    """Return the context of a client that trusts the plant, with a certificate of its own."""
    authority, _ = write(folder, "trusted", PLANT)
    context = ssl.create_default_context(cafile=authority)
    for key, value in keys.items():
        setattr(context, key, value)
    if own is not None:
        context.load_cert_chain(*write(folder, "client", own))
    return context


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def echo(request: Request) -> Response:
    """Answer with the path."""
    body = b"x" * LARGE if request.path == "/large" else request.path.encode()
    return Response(HTTPStatus.OK, "text/plain", body)


@contextmanager
def serving(folder: Path, own: Signed = SERVER, authority: Signed | None = None) -> Iterator[tuple[int, HttpServer]]:
    """Serve `echo` with TLS, for all clients or those of an authority."""
    certificate, key = write(folder, "server", own)
    client_ca = None if authority is None else write(folder, "authority", authority)[0]
    files = ServerFiles("gateway.metrics.tls", certificate, key, None, client_ca)
    listening = socket.create_server((HOST, 0))
    listening.settimeout(0.0)
    server = HttpServer(listening, echo, ServerCertificate(files, lambda _: None).context)
    server.start()
    try:
        yield listening.getsockname()[1], server
    finally:
        server.stop()


def get(port: int, context: ssl.SSLContext, path: str = "/metrics", host: str = HOST) -> bytes:
    connection = HTTPSConnection(host, port, timeout=SECONDS, context=context)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


def test_a_client_that_trusts_the_authority_reads_over_tls(tmp_path: Path) -> None:
    """One connection for many requests, large responses, and a connection that is closed after its response."""
    with serving(tmp_path) as (port, _):
        context = client(tmp_path)
        connection = HTTPSConnection(HOST, port, timeout=SECONDS, context=context)
        for path in ("/a", "/b", "/large"):
            connection.request("GET", path)
            body = connection.getresponse().read()
            assert body == (b"x" * LARGE if path == "/large" else path.encode())
        connection.close()
        connection = HTTPSConnection(HOST, port, timeout=SECONDS, context=context)
        connection.request("GET", "/large", headers={"Connection": "close"})
        assert len(connection.getresponse().read()) == LARGE


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        (make("expired", issuer=PLANT, uris=(), days=(-30, -1)), "certificate has expired"),
        (make("future", issuer=PLANT, uris=(), days=(1, 30)), "not yet valid"),
        (make("elsewhere", issuer=PLANT, uris=(), hosts=("edge-02.example",)), "IP address mismatch"),
        (make("foreign", issuer=OTHER, uris=()), "unable to get local issuer"),
    ],
    ids=["expired", "not yet valid", "wrong host", "other authority"],
)
def test_a_client_refuses_a_certificate_that_is_wrong(tmp_path: Path, own: Signed, reason: str) -> None:
    """The server goes on: Prometheus says what is wrong, and the files can be renewed."""
    with serving(tmp_path, own) as (port, _):
        with pytest.raises(ssl.SSLCertVerificationError, match=reason):
            get(port, client(tmp_path))
        trusting = client(tmp_path, check_hostname=False, verify_mode=ssl.CERT_NONE)
        assert get(port, trusting) == b"/metrics"


@pytest.mark.parametrize(
    "own",
    [
        None,
        make("stranger", issuer=OTHER, uris=(), extended=CLIENT),
        make("late", issuer=PLANT, uris=(), extended=CLIENT, days=(-30, -1)),
        make("server alone", issuer=PLANT, uris=()),
        make("self", uris=(), extended=CLIENT),
    ],
    ids=["none", "other authority", "expired", "of a server", "self-signed"],
)
def test_a_client_without_the_right_certificate_reads_nothing(tmp_path: Path, own: Signed | None) -> None:
    """With TLS 1.3 the client learns of it when it reads."""
    with serving(tmp_path, authority=PLANT) as (port, _):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            get(port, client(tmp_path, own))
        prometheus = make("prometheus", issuer=PLANT, uris=(), extended=CLIENT)
        assert get(port, client(tmp_path, prometheus)) == b"/metrics"


def test_old_versions_of_tls_and_plain_requests_are_refused(tmp_path: Path) -> None:
    """Each connection with client_ca is verified: TLS 1.2 could go on with a session from before."""
    prometheus = make("prometheus", issuer=PLANT, uris=(), extended=CLIENT)
    old = {"maximum_version": ssl.TLSVersion.TLSv1_2}
    with serving(tmp_path) as (port, _):
        assert get(port, client(tmp_path, **old)) == b"/metrics"
        with socket.create_connection((HOST, port), timeout=SECONDS) as plain:
            plain.sendall(b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n")
            assert b"HTTP/1.1" not in plain.recv(1000)
    with serving(tmp_path, authority=PLANT) as (port, _):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            get(port, client(tmp_path, prometheus, **old))
        with (
            socket.create_connection((HOST, port), timeout=SECONDS) as plain,
            client(tmp_path, prometheus).wrap_socket(plain, server_hostname=HOST) as wrapped,
        ):
            wrapped.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert wrapped.recv(1000)
            assert wrapped.session is None or not wrapped.session.has_ticket


async def test_slow_and_silent_clients_are_closed_and_others_are_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood of connections without a handshake: the oldest are closed, the number of descriptors is bounded."""
    monkeypatch.setattr(http_server, "HANDSHAKES_PER_SECOND", 10_000)
    monkeypatch.setattr(http_server, "MAX_HANDSHAKES", 8)
    monkeypatch.setattr(http_server, "HANDSHAKE_SECONDS", 2 * SECONDS)  # they are closed by their number
    with serving(tmp_path) as (port, server), ExitStack() as stack:
        before = _descriptors()
        silent = []
        for number in range(40):
            connection = stack.enter_context(socket.create_connection((HOST, port), timeout=SECONDS))
            connection.sendall(b"\x16\x03\x01\x02\x00" if number % 2 else b"")
            silent.append(connection)
        assert await asyncio.to_thread(get, port, client(tmp_path)) == b"/metrics"
        assert silent[0].recv(100) == b"", "the oldest was closed to make room"
        await until(lambda: server.connections <= 8, "the connections are closed", SECONDS)
        assert _descriptors() - before - len(silent) <= 8 + 4
        server.stop()
        assert all(not connection.recv(100) for connection in silent)


async def test_a_handshake_has_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that sends single bytes."""
    monkeypatch.setattr(http_server, "HANDSHAKE_SECONDS", 0.2)
    with serving(tmp_path) as (port, server), socket.create_connection((HOST, port), timeout=SECONDS) as slow:
        slow.sendall(b"\x16\x03")
        assert await asyncio.to_thread(slow.recv, 100) == b""
        await until(lambda: not server.connections, "the connection is forgotten", SECONDS)


def test_handshakes_are_limited_in_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs processor time, which the machines need; the others wait, and are served."""
    monkeypatch.setattr(http_server, "HANDSHAKES_PER_SECOND", 5)
    with serving(tmp_path) as (port, _):
        context, began = client(tmp_path), time.monotonic()
        for _ in range(11):
            assert get(port, context) == b"/metrics"
        assert time.monotonic() - began > 1.0


async def test_a_client_that_does_not_read_costs_little_memory_and_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its response is encrypted piece by piece, as it reads."""
    monkeypatch.setattr(http_server, "SEND_SECONDS", 1.0)
    with serving(tmp_path) as (port, server), ExitStack() as stack:
        for _ in range(http_server.MAX_SENDING - 1):
            connection = stack.enter_context(socket.create_connection((HOST, port), timeout=SECONDS))
            wrapped = stack.enter_context(client(tmp_path).wrap_socket(connection, server_hostname=HOST))
            wrapped.sendall(b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n" * 50)
        assert await asyncio.to_thread(get, port, client(tmp_path)) == b"/metrics"
        await until(lambda: not server.connections, "the connections are closed", SECONDS)


class Box:
    """An endpoint with TLS in a running event loop, and its files."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, authority: Signed | None = None) -> None:
        monkeypatch.setattr(endpoint, "LISTEN_AGAIN", 0.05)
        monkeypatch.setattr(server_certificate, "LOOK_EVERY", 0.05)
        monkeypatch.setattr(ServerCertificate.watch, "__defaults__", (0.05,))
        self.folder, self.port = folder, free_port()
        self.files = folder / "server.pem", folder / "server.key"
        client_ca = None if authority is None else write(folder, "authority", authority)[0]
        written = {"certificate": self.files[0], "key": self.files[1], "client_ca": client_ca}
        tls = MetricsTls.model_validate({key: str(value) for key, value in written.items() if value is not None})
        sources = Sources(self._none, self._none)  # type: ignore[arg-type] # the index asks for neither
        self.endpoint = MetricsEndpoint(Endpoint(HOST, self.port), sources, "gateway.metrics", tls)

    async def _none(self) -> list[Any]:
        return []

    async def common_name(self, own: Signed | None = None) -> str:
        """Return the name in the certificate that a client gets."""
        context = client(self.folder, own)

        def ask() -> str:
            with (
                socket.create_connection((HOST, self.port), timeout=SECONDS) as plain,
                context.wrap_socket(plain, server_hostname=HOST) as wrapped,
            ):
                wrapped.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
                if not wrapped.recv(15):
                    raise ConnectionError("the server has closed the connection")
                found = wrapped.getpeercert()
            assert found is not None
            return str(dict(one for [one] in found["subject"])["commonName"])  # type: ignore[misc] # of the library

        return await asyncio.to_thread(ask)


async def test_renewed_files_are_used_while_it_runs_and_wrong_files_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From no files at all, over a certificate and its renewal, to files that do not fit, and right files again."""
    box = Box(tmp_path, monkeypatch)
    with capture_logs() as logs:
        task = asyncio.create_task(box.endpoint.run())
        names = lambda: [one["event"] for one in logs]  # noqa: E731 - for the lines below
        await until(lambda: "metrics.not_listening" in names(), "the missing files are logged", SECONDS)
        assert logs[0]["hint"] == "correct the files of gateway.metrics.tls"
        assert "gateway.metrics.tls.certificate" in logs[0]["error"]
        write(tmp_path, "server", SERVER)
        await until(lambda: "metrics.listening" in names(), "the endpoint listens", SECONDS)
        assert await box.common_name() == "edge-01"
        write(tmp_path, "server", make("renewed", issuer=PLANT, uris=()))
        await until(lambda: "metrics.certificate_renewed" in names(), "the renewal", SECONDS)
        assert await box.common_name() == "renewed"
        box.files[1].write_bytes(SERVER.key_pem)
        await until(lambda: "metrics.certificate_refused" in names(), "the refusal", SECONDS)
        assert await box.common_name() == "renewed"
        write(tmp_path, "server", SERVER)
        await until(lambda: names().count("metrics.certificate_renewed") == 2, "the second renewal", SECONDS)
        assert await box.common_name() == "edge-01"
        task.cancel()
        await asyncio.wait([task])


async def test_another_authority_of_clients_counts_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An authority that is no longer trusted must not open the door until a restart."""
    write(tmp_path, "server", SERVER)
    box = Box(tmp_path, monkeypatch, PLANT)
    of_plant, of_other = (
        make(f"client {n}", issuer=by, uris=(), extended=CLIENT) for n, by in enumerate((PLANT, OTHER))
    )
    with capture_logs() as logs:
        task = asyncio.create_task(box.endpoint.run())
        await until(lambda: "metrics.listening" in [one["event"] for one in logs], "it listens", SECONDS)
        assert await box.common_name(of_plant) == "edge-01"
        write(tmp_path, "authority", OTHER)
        write(tmp_path, "server", make("renewed", issuer=PLANT, uris=()))
        await until(lambda: "metrics.certificate_renewed" in [one["event"] for one in logs], "the renewal", SECONDS)
        assert await box.common_name(of_other) == "renewed"
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await box.common_name(of_plant)
        task.cancel()
        await asyncio.wait([task])


FACTORY = """
format: 1
factory: {{enterprise: acme, site: north}}
gateway: {{id: edge-01, metrics: {{listen: "{listen}"{more}}}}}
broker: {{url: "mqtt://127.0.0.1"}}
lines: {{one: {{area: area, machines: {{m: {{template: curing-press, connection: "modbus+tcp://127.0.0.1"}}}}}}}}
"""


@pytest.mark.parametrize(
    ("listen", "more", "warning"),
    [
        ("127.0.0.1:9464", "", ""),
        ("0.0.0.0:9464", "", "write tls with certificate, key and client_ca"),
        ("0.0.0.0:9464", ", tls: {certificate: a.pem, key: a.key}", "write client_ca into tls"),
        ("0.0.0.0:9464", ", tls: {certificate: a.pem, key: a.key, client_ca: ca.pem}", ""),
        ("0.0.0.0:9464", ", token: {secret: metrics}", "can read the token of the metrics; write tls"),
        ("0.0.0.0:9464", ", token: {secret: metrics}, tls: {certificate: a.pem, key: a.key}", ""),
        ("127.0.0.1:9464", ", token: {secret: metrics}", ""),
        ("0.0.0.0:9464", ", insecure: true", ""),
        ("0.0.0.0:9464", ", insecure: true, tls: {certificate: a.pem, key: a.key}", ""),
    ],
)
def test_an_address_beyond_the_box_needs_clients_with_certificates_or_insecure(
    tmp_path: Path, listen: str, more: str, warning: str
) -> None:
    """`validate --strict` makes an error of the warning."""
    file = tmp_path / "factory.yaml"
    file.write_text(FACTORY.format(listen=listen, more=more))
    factory = load_factory(file)
    found = [one.message for one in exposure_warnings(factory) if "metrics" in one.path]
    assert len(found) == bool(warning)
    assert not warning or warning in found[0]
    if factory.gateway.metrics.tls is not None:
        assert factory.gateway.metrics.tls.certificate == tmp_path / "a.pem"


def test_a_locked_key_needs_its_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of keys knows it, as those of the broker and of the page."""
    certificate, key = write(tmp_path, "server", SERVER, b"assword")
    more = f", tls: {{certificate: {certificate}, key: {key}, key_password: {{secret: metrics_key}}}}"
    file = tmp_path / "factory.yaml"
    file.write_text(FACTORY.format(listen="127.0.0.1:9464", more=more))
    monkeypatch.setenv("LINESIDE_SECRET_METRICS_KEY", "wrong")
    factory = load_factory(file)
    [problem] = key_problems(factory, here=True)
    assert problem.path == "gateway.metrics.tls.key_password"
    tls = factory.gateway.metrics.tls
    assert tls is not None
    files = ServerFiles("gateway.metrics.tls", tls.certificate, tls.key, tls.key_password)
    with pytest.raises(OSError, match="is not its password"):
        ServerCertificate(files, lambda _: None)
    monkeypatch.setenv("LINESIDE_SECRET_METRICS_KEY", "password")
    assert not list(key_problems(factory, here=True))
    assert ServerCertificate(files, lambda _: None).serial
