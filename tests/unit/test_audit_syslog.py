"""The follower of the audit log: RFC 5424 over UDP, TCP and TLS, and a server that does not answer."""

from __future__ import annotations

import json
import re
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, BinaryIO

import pytest
from processes import free_port
from served import make_certificate

from gateway.audit import syslog
from gateway.audit.log import AuditLog
from gateway.settings.audit_section import AuditSection

if TYPE_CHECKING:
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
