"""The follower of the audit log: RFC 5424 over UDP, TCP and TLS, and a server that does not answer."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, BinaryIO

import pytest
import structlog
from fakes.authority import Authority, Pair
from processes import free_port
from served import make_certificate

from gateway.audit import syslog
from gateway.audit.log import AuditLog
from gateway.settings.audit_section import AuditSection

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MESSAGE = re.compile(
    rb"<109>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z [!-~]+ lineside \d+ login - \xef\xbb\xbf(\{.*\})", re.DOTALL
)
"""RFC 5424, clause 6: priority, version, time, host, application, process, kind, no structured data, UTF-8."""


def section(folder: Path, **keys: object) -> AuditSection:
    return AuditSection.model_validate({"folder": str(folder / "audit")} | keys)


def receive(connection: socket.socket) -> tuple[bytes, bytes]:
    """Return two messages that are framed by their lengths (RFC 6587, clause 3.4.1)."""
    with connection.makefile("rb") as file:
        return _message(file), _message(file)


def _message(file: BinaryIO) -> bytes:
    digits = b""
    while (byte := file.read(1)) != b" ":
        digits += byte
    return file.read(int(digits))


def check(*messages: bytes) -> None:
    """Check the messages of a new log: about its creation, and the entry."""
    created, message = messages
    assert b" audit-created - " in created
    match = MESSAGE.fullmatch(message)
    assert match is not None, message
    entry = json.loads(match[1])
    assert (entry["who"], entry["n"]) == ("\u0141ukasz", 2)


def test_an_entry_reaches_a_server_by_udp(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        with AuditLog(section(tmp_path, syslog=f"udp://127.0.0.1:{server.getsockname()[1]}")) as audit:
            audit.record("login", who="\u0141ukasz")
            check(server.recv(65_535), server.recv(65_535))


@pytest.mark.parametrize("scheme", ["tcp", "tls"])
def test_an_entry_reaches_a_server_by_a_stream(tmp_path: Path, scheme: str) -> None:
    certificate, key = make_certificate(tmp_path)
    keys = {"syslog_ca": str(certificate)} if scheme == "tls" else {}
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        url = f"{scheme}://localhost:{server.getsockname()[1]}"
        with AuditLog(section(tmp_path, syslog=url, **keys)) as audit:
            audit.record("login", who="\u0141ukasz")
            connection, _ = server.accept()
            if scheme == "tls":
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(certificate, key)
                connection = context.wrap_socket(connection, server_side=True)
            with connection:
                connection.settimeout(10)
                check(*receive(connection))
        assert audit.syslog_dropped == 0


def test_a_server_whose_certificate_is_not_trusted_gets_nothing(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    failed = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)

        def serve() -> None:
            connection, _ = server.accept()
            try:
                context.wrap_socket(connection, server_side=True).close()
            except OSError:
                failed.set()
            finally:
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        with AuditLog(section(tmp_path, syslog=f"tls://localhost:{server.getsockname()[1]}")) as audit:
            audit.record("login", who="anna").result(10)
            assert failed.wait(10)
        thread.join()
    assert audit.syslog_dropped == 2


def test_a_server_that_is_down_delays_nothing_and_its_entries_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syslog, "MOST_WAITING", 3)
    began = time.monotonic()
    with AuditLog(section(tmp_path, syslog=f"tcp://127.0.0.1:{free_port()}")) as audit:
        numbers = [audit.record("login", who="anna").result(10) for _ in range(10)]
    assert numbers == list(range(2, 12))
    assert audit.syslog_dropped == 11
    assert time.monotonic() - began < 10


def test_a_connection_that_breaks_is_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syslog, "FIRST_PAUSE", 0.01)
    port = free_port()
    with AuditLog(section(tmp_path, syslog=f"tcp://127.0.0.1:{port}")) as audit:
        audit.record("login", who="\u0141ukasz").result(10)
        with socket.create_server(("127.0.0.1", port)) as server:
            server.settimeout(10)
            connection, _ = server.accept()
            with connection:
                check(*receive(connection))
    assert audit.syslog_dropped == 0


@contextlib.contextmanager
def siem(pair: Pair) -> Iterator[tuple[str, list[bytes], threading.Semaphore]]:
    """Serve a SIEM by TLS: its URL, the messages of the connections that went well, and one release for each."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    messages: list[bytes] = []
    got = threading.Semaphore(0)

    def serve(server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with (
                connection,
                contextlib.suppress(OSError),
                context.wrap_socket(connection, server_side=True) as wrapped,
            ):
                wrapped.settimeout(10)
                messages.extend(receive(wrapped))
                got.release()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        try:
            yield f"tls://localhost:{server.getsockname()[1]}", messages, got
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(10)


@pytest.mark.parametrize("list_", ["revoked", "expired", "missing"])
def test_a_siem_whose_certificate_is_revoked_gets_nothing_until_it_has_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, list_: str
) -> None:
    """Its entries wait, and the list is read at each connection."""
    monkeypatch.setattr(syslog, "FIRST_PAUSE", 0.01)
    authority, crl = Authority(tmp_path, "plant-ca"), tmp_path / "plant.crl.pem"
    pair = authority.pair("siem", "localhost")
    if list_ != "missing":
        crl.write_bytes(authority.revocations(pair) if list_ == "revoked" else authority.revocations(hours=-1))
    refused = threading.Event()

    def note(_logger: object, _method: str, entry: dict[str, object]) -> dict[str, object]:
        logs.append(entry)
        if entry["event"] == "syslog.not_connected":
            refused.set()
        raise structlog.DropEvent

    logs: list[dict[str, object]] = []
    monkeypatch.setattr(syslog, "log", structlog.wrap_logger(None, processors=[note]))
    with siem(pair) as (url, messages, got):
        keys = {"syslog": url, "syslog_ca": str(authority.file), "syslog_crl": str(crl)}
        with AuditLog(section(tmp_path, **keys)) as audit:
            audit.record("login", who="\u0141ukasz").result(10)
            assert refused.wait(10)
            assert messages == []
            crl.write_bytes(authority.revocations())
            assert got.acquire(timeout=10)
        check(*messages)
        assert audit.syslog_dropped == 0
    [problem] = [one["error"] for one in logs if one["event"] == "syslog.not_connected"]
    expected = {
        "revoked": "its certificate was revoked by its authority",
        "expired": f"the revocation list in {crl} has expired; put the authority's present list there",
        "missing": f"dashboard.audit.syslog_crl ({crl}): No such file or directory",
    }
    assert problem == expected[list_]
