"""`lineside dashboard` with TLS and users, as a process: sign-in, a kill, and the audit log afterwards."""

from __future__ import annotations

import json
import os
import signal
import ssl
from typing import TYPE_CHECKING, Any

import httpx2
from dashboards import factory
from processes import LOOPBACK, Lineside, free_port, lineside, until
from secured_page import HASH, PASSWORD
from served import make_certificate

from gateway.users.roles import Role
from gateway.users.users_file import changing, new_user

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_killed_page_forgets_its_sessions_and_keeps_its_audit_log(tmp_path: Path) -> None:
    """A restart must not leave a session open that nobody can end, and the log must say who was there."""
    certificate, key = make_certificate(tmp_path)
    port = free_port()
    origin = f"https://localhost:{port}"
    config = factory(
        tmp_path, listen=f"{LOOPBACK}:{port}", tls={"certificate": str(certificate), "key": str(key)}
    )  # fmt: skip
    with changing(tmp_path / "lineside-data" / "users.yaml") as users:
        users["anna"] = new_user(Role.OPERATOR, HASH)
    page = await Lineside.start("dashboard", config)
    await page.logged("dashboard.listening")
    context = ssl.create_default_context(cafile=certificate)
    async with httpx2.AsyncClient(base_url=origin, verify=context) as client:
        assert (await client.get("/api/settings")).status_code == 401
        assert (await client.get("/overview")).headers["location"] == "/login?next=%2Foverview"
        answer = await client.post("/login", data={"name": "anna", "password": PASSWORD}, headers={"Origin": origin})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert (await client.get("/api/settings")).status_code == 200
        token = {"X-CSRF-Token": (await client.get("/api/session")).json()["csrf_token"], "Origin": origin}
        refused = await client.post("/api/alarms/notes", json={"action": "x"}, headers=token)
        assert 400 <= refused.status_code < 500
        log = tmp_path / "lineside-data" / "audit"
        await until(lambda: any(b'"request"' in file.read_bytes() for file in log.glob("*.jsonl")), "it is recorded")
        page.kill()
        page.launch()
        await page.logged("dashboard.listening", 2)
        assert (await client.get("/api/settings")).status_code == 401
    assert await page.stop() == 0
    verified = await lineside("audit", "verify", str(config))
    assert verified.code == 0, verified.error
    shown = await lineside("audit", "show", str(config), "--format", "json")
    entries: list[dict[str, Any]] = [json.loads(line) for line in shown.text.splitlines()]
    found = [(entry["who"], entry["action"], entry["from"]) for entry in entries if entry["who"] != "lineside"]
    assert found == [("anna", "login", LOOPBACK), ("anna", "request", LOOPBACK)]
    assert PASSWORD not in page.log.read_text()


async def test_a_hangup_lets_the_page_read_its_certificate_again(tmp_path: Path) -> None:
    """The hook of a renewal sends it; sessions and the process go on."""
    certificate, key = make_certificate(tmp_path)
    port = free_port()
    config = factory(
        tmp_path, listen=f"{LOOPBACK}:{port}", tls={"certificate": str(certificate), "key": str(key)}
    )  # fmt: skip
    page = await Lineside.start("dashboard", config)
    await page.logged("dashboard.listening")
    for serial in (2, 3):
        make_certificate(tmp_path, serial=serial)
        os.kill(page.pid, signal.SIGHUP)
        renewed = await page.logged("dashboard.certificate_renewed", serial - 1)
        assert renewed["serial"] == str(serial)
        context = ssl.create_default_context(cafile=certificate)
        async with httpx2.AsyncClient(base_url=f"https://localhost:{port}", verify=context) as client:
            assert (await client.get("/login")).status_code == 200
    assert await page.stop() == 0


async def test_a_certificate_without_its_key_is_a_line_of_text(tmp_path: Path) -> None:
    certificate, _ = make_certificate(tmp_path)
    (tmp_path / "other").mkdir()
    _, key = make_certificate(tmp_path / "other")
    config = factory(
        tmp_path, listen=f"{LOOPBACK}:{free_port()}", tls={"certificate": str(certificate), "key": str(key)}
    )  # fmt: skip
    ran = await lineside("dashboard", str(config))
    assert ran.code == 1
    assert f"dashboard.tls.certificate and dashboard.tls.key ({certificate}, {key}): " in ran.error
    assert "Traceback" not in ran.error
