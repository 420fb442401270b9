"""Each check of the self-test finds its problem, and says what would be right; a helper runs them apart."""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from processes import until, write_factory
from structlog.testing import capture_logs

from gateway.audit.files import log_files
from gateway.audit.log import AuditLog
from gateway.cli import main
from gateway.common.clock import KernelClock
from gateway.metrics.samples import Samples
from gateway.self_test import checks, runner
from gateway.self_test.checks import CHECKS, run_checks
from gateway.self_test.outcome import Outcome, Report, Result, read_report, self_test_file
from gateway.self_test.runner import SelfTest
from gateway.settings.load import load_factory
from gateway.settings.sections import ClockTrust, WhenFull
from gateway.spool.database import SpoolDatabase
from gateway.spool.files import SpoolFiles
from gateway.status.box import read_box
from gateway.status.box_text import box_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.settings.factory import Factory


def make_pair(folder: Path, name: str, begins: timedelta, ends: timedelta) -> None:
    """Write a certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now + begins).not_valid_after(now + ends)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / f"{name}.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / f"{name}.key").chmod(0o600)


DAY = timedelta(days=1)


@pytest.fixture
def factory(tmp_path: Path) -> Factory:
    """A gateway in order: certificates of a year, a spool, an audit log."""
    make_pair(tmp_path, "edge", -DAY, 365 * DAY)
    state = tmp_path / "state"
    state.mkdir()
    file = write_factory(
        tmp_path / "factory.yaml",
        gateway={"id": "edge-01", "spool": {"folder": str(state)}},
        broker={
            "url": "mqtts://broker.example:8883",
            "certificate": str(tmp_path / "edge.pem"), "key": str(tmp_path / "edge.key"),
        },
        ingest={"folder": str(state)},
        lines={
            "line": {
                "area": "area",
                "machines": {"m-01": {"template": "curing-press", "connection": "modbus+tcp://127.0.0.1:1"}},
            }
        },
    )  # fmt: skip
    database = SpoolDatabase(SpoolFiles(state, "edge-01"), 2**24, WhenFull.DROP_OLDEST)
    database.open()
    database.close()
    found = load_factory(file)
    with AuditLog(found.dashboard.audit) as audit:
        for number in range(3):
            audit.record("login", who=f"user-{number}").result(10)
    return found


def problems(factory: Factory, check: str) -> str:
    return "\n".join(CHECKS[check](factory))


def test_a_box_in_order_passes(factory: Factory) -> None:
    before = sorted(factory.gateway.spool.folder.rglob("*"))
    report = run_checks(factory)
    expected = dict.fromkeys(CHECKS, Result.PASSED) | {"software": Result.NOT_CHECKED}  # of a source tree
    assert {one.check: one.result for one in report.outcomes} == expected, report.problems
    notes = [one.notes for one in report.outcomes if one.check == "software"]
    assert notes == [("a source tree: nobody has listed its files",)]
    assert set(before) <= set(factory.gateway.spool.folder.rglob("*"))
    assert not list(factory.gateway.spool.folder.glob("*.self-test.*"))


def test_files_that_others_can_read_or_change_are_named(factory: Factory, tmp_path: Path) -> None:
    (tmp_path / "edge.key").chmod(0o644)
    (tmp_path / "state").chmod(0o777)
    factory.file.chmod(0o666)
    found = problems(factory, "permissions")
    assert f"chmod 600 {tmp_path / 'edge.key'}" in found
    assert f"chmod o-w {tmp_path / 'state'}" in found
    assert f"chmod o-w {factory.file}" in found


def test_certificates_and_secrets_of_stores_and_devices_are_looked_at_too(tmp_path: Path) -> None:
    """Each end with TLS has files that expire, and secrets in files that others must not read."""
    make_pair(tmp_path, "store", -9 * DAY, -DAY)
    make_pair(tmp_path, "device", -DAY, 9 * DAY)
    (tmp_path / "token").write_text("t")
    (tmp_path / "token").chmod(0o644)
    (tmp_path / "device.key").chmod(0o644)
    url, (pem, key) = "modbus+tls://127.0.0.1:1", (tmp_path / "device.pem", tmp_path / "device.key")
    file = write_factory(
        tmp_path / "factory.yaml",
        broker={"url": "mqtts://broker.example"},
        stores=[{"influxdb": {"url": "https://127.0.0.1:1", "org": "o", "bucket": "b",
                              "token": {"file": str(tmp_path / "token")}, "ca": str(tmp_path / "store.pem")}}],
        lines={"line": {"area": "area", "machines": {"m-01": {
            "template": "curing-press", "connection": {"url": url, "certificate": str(pem), "key": str(key)}}}}},
    )  # fmt: skip
    found = load_factory(file)
    expired = problems(found, "certificates")
    assert f"authority of the store influxdb: {tmp_path / 'store.pem'} has expired" in expired
    assert f"certificate for machine m-01: {pem} expires on" in expired
    open_ = problems(found, "permissions")
    assert f"chmod 600 {tmp_path / 'token'}" in open_
    assert f"chmod 600 {key}" in open_


@pytest.mark.parametrize(
    ("begins", "ends", "words"),
    [(-9 * DAY, -DAY, "has expired on"), (-DAY, 9 * DAY, "expires on"), (DAY, 9 * DAY, "check the clock")],
)
def test_certificates_out_of_date_are_named(
    factory: Factory, tmp_path: Path, begins: timedelta, ends: timedelta, words: str
) -> None:
    make_pair(tmp_path, "edge", begins, ends)
    assert words in problems(factory, "certificates")


def test_a_key_of_another_certificate_is_named(factory: Factory, tmp_path: Path) -> None:
    make_pair(tmp_path, "other", -DAY, 365 * DAY)
    (tmp_path / "other.key").rename(tmp_path / "edge.key")
    assert "is not the key of" in problems(factory, "certificates")
    (tmp_path / "edge.key").write_text("-----BEGIN nonsense")
    assert "is not a private key that can be read" in problems(factory, "certificates")
    (tmp_path / "edge.key").unlink()
    assert "No such file" in problems(factory, "certificates")
    (tmp_path / "edge.pem").write_text("nonsense")
    assert "is not a certificate" in problems(factory, "certificates")


def test_a_disk_that_is_full_refuses_lies_or_is_slow_is_named(
    factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(checks, "LEAST_FREE", 2**62)
        assert "MB are free" in problems(factory, "disk")

    def refuses(_: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuses)
        assert "refuses a small file: Input/output error" in problems(factory, "disk")
    with monkeypatch.context() as patch:
        patch.setattr(checks, "SLOW_SYNC", -1.0)
        assert "to be on the disk" in problems(factory, "disk")
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.read_bytes", lambda _: b"other")
        assert "other bytes than were written" in problems(factory, "disk")
    assert not list(factory.gateway.spool.folder.glob("*.self-test.*"))


def test_a_clock_that_was_never_set_or_was_set_back_is_named(
    factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr("time.time", lambda: 1000.0)
    found = problems(factory, "clock")
    assert "the clock says 1970-01-01" in found
    assert "newer than the clock" in found
    monkeypatch.setattr("time.time", lambda: now)


@pytest.mark.parametrize(
    ("clock", "warning"),
    [
        (KernelClock(synchronised=False, maximum_error=16.0, estimated_error=16.0), "nothing synchronises the clock"),
        (KernelClock(synchronised=True, maximum_error=7.5, estimated_error=0.1), "may be wrong by 7.5 s"),
        (KernelClock(synchronised=True, maximum_error=0.5, estimated_error=0.1), ""),
        (None, ""),
    ],
)
def test_a_clock_without_a_time_server_is_a_warning_and_fails_only_on_request(
    factory: Factory, monkeypatch: pytest.MonkeyPatch, clock: KernelClock | None, warning: str
) -> None:
    """Many plants set their boxes by hand, and a machine of CI has no time server."""
    monkeypatch.setattr(checks, "kernel_clock", lambda: clock)
    report = run_checks(factory, {"clock": CHECKS["clock"]})
    assert (report.outcomes[0].result, report.problems) == (Result.PASSED, [])
    assert [warning in one for one in report.warnings] == ([True] if warning else [])
    strict = replace(factory, gateway=factory.gateway.model_copy(update={"clock": ClockTrust.REQUIRE_SYNC}))
    report = run_checks(strict, {"clock": CHECKS["clock"]})
    assert report.warnings == []
    assert [warning in one for one in report.problems] == ([True] if warning or clock is None else [])


async def test_warnings_are_logged_beside_the_result(factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = Outcome(check="clock", result=Result.PASSED, warnings=("nothing synchronises the clock",))
    content = Report(time=1, seconds=1.0, outcomes=(outcome,)).model_dump_json()
    monkeypatch.setattr(SelfTest, "_command", lambda _: ["gateway.self_test.outcome"])

    async def output(*_: object, **__: object) -> bytes:
        return content.encode()

    monkeypatch.setattr(runner, "output_of", output)
    helper = SelfTest(factory, settle=0.0)
    with capture_logs() as said:
        await helper.run_once()
        await helper.run_once()  # which finds the same
    assert [(one["event"], one["log_level"]) for one in said] == [
        ("self_test.passed", "info"), ("self_test.warned", "warning"),
    ]  # fmt: skip


def cut(lines: list[bytes]) -> list[bytes]:
    return lines[:-1]


def changed(lines: list[bytes]) -> list[bytes]:
    return [*lines[:-2], lines[-2].replace(b'"user-', b'"root-'), lines[-1]]


def removed(lines: list[bytes]) -> list[bytes]:
    return [*lines[:-2], lines[-1]]


@pytest.mark.parametrize("damage", [cut, changed, removed])
def test_an_audit_log_whose_end_was_changed_is_named(
    factory: Factory, damage: Callable[[list[bytes]], list[bytes]]
) -> None:
    file = log_files(factory.dashboard.audit.folder)[-1]
    file.write_bytes(b"".join(damage(file.read_bytes().splitlines(keepends=True))))
    assert "lineside audit verify" in problems(factory, "audit")


def test_an_audit_log_without_its_head_or_with_another_is_named(factory: Factory) -> None:
    head = factory.dashboard.audit.folder / "audit-head.json"
    content = json.loads(head.read_bytes())
    head.write_text(json.dumps(content | {"signature": "AAAA"}))
    assert "the signature of the head is wrong" in problems(factory, "audit")
    head.unlink()
    assert "the head is missing" in problems(factory, "audit")


def test_a_damaged_spool_is_named(factory: Factory) -> None:
    files = SpoolFiles(factory.gateway.spool.folder, "edge-01")
    content = files.db.read_bytes()
    files.db.write_bytes(content[:4096] + bytes(len(content) - 4096))
    assert "is damaged" in problems(factory, "spool")


def test_a_check_that_fails_costs_no_other(factory: Factory) -> None:
    """A self-test of a broken box has to say something."""

    def breaks(_: Factory) -> Any:
        raise RuntimeError("boom")

    report = run_checks(factory, {"first": breaks, "disk": CHECKS["disk"]})
    assert [one.result for one in report.outcomes] == [Result.NOT_CHECKED, Result.PASSED]
    assert report.problems == ["first: could not be checked: RuntimeError: boom"]


def test_the_command_prints_records_and_exits_with_1(factory: Factory, tmp_path: Path) -> None:
    fine = CliRunner().invoke(main, ["self-test", str(factory.file)])
    assert (fine.exit_code, fine.stdout.count("passed")) == (0, len(CHECKS) - 1)
    assert read_report(self_test_file(tmp_path / "state", "edge-01")) is None
    (tmp_path / "edge.key").chmod(0o644)
    result = CliRunner().invoke(main, ["self-test", str(factory.file), "--record", "--format", "json"])
    assert result.exit_code == 1
    last = json.loads(log_files(factory.dashboard.audit.folder)[-1].read_bytes().splitlines()[-1])
    assert (last["action"], last["after"]["permissions"], last["after"]["disk"]) == ("self-test", "failed", "passed")
    box = read_box(factory)
    assert box.report["self_test"]["results"]["permissions"] == "failed"
    assert [finding.about for finding in box.findings].count("self-test") == 1
    assert f"1 of {len(CHECKS)} checks NOT passed" in box_text(box)


async def test_a_service_runs_it_apart_and_logs_the_result_once(factory: Factory, tmp_path: Path) -> None:
    (tmp_path / "edge.key").chmod(0o644)
    helper = SelfTest(factory, settle=0.0)
    with capture_logs() as said:
        await helper.run_once()
        await helper.run_once()  # of the next day, with the same result
    assert helper.report is not None
    samples = Samples()
    helper.add_to(samples)
    failed = {labels[0]: numbers[0] for labels, numbers in samples.rows("lineside_self_test_failed")}
    assert failed == dict.fromkeys(CHECKS, 0.0) | {"permissions": 1.0}
    # a machine of CI has no time server
    assert [one["event"] for one in said if one["event"] != "self_test.warned"] == ["self_test.failed"]
    assert read_report(self_test_file(tmp_path / "state", "edge-01")) == helper.report


async def test_a_process_that_hangs_or_says_nonsense_ends_nothing(
    factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check waits for a disk that never answers: the gateway reads on, and the process does not stay."""
    helper = SelfTest(factory, settle=0.0)
    monkeypatch.setattr(runner, "LONGEST", 0.3)
    for command in (["/bin/sleep", "1000"], ["/bin/echo", "nonsense"], ["/nowhere/python"]):
        monkeypatch.setattr(SelfTest, "_command", lambda _, command=command: command)
        with capture_logs() as said:
            await helper.run_once()
        assert [one["event"] for one in said] == ["self_test.not_run"]
    monkeypatch.setattr(SelfTest, "_command", lambda _: ["/bin/sleep", "1000"])
    monkeypatch.setattr(runner, "LONGEST", 100.0)
    task = asyncio.create_task(helper.run())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("service", ["ingest", "dashboard"])
async def test_ingest_and_the_page_check_the_software_alone(
    factory: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    """They may be on a box without a gateway, and the result of ingest is for the status there."""
    monkeypatch.setattr(runner, "EVERY", 0.0)
    (tmp_path / "edge.key").chmod(0o644)  # a problem for a gateway
    helper = SelfTest(factory, settle=0.0, service=service)
    running = asyncio.create_task(helper.run())
    first = await until(lambda: helper.report, "the self-test after the start")
    second = await until(lambda: None if helper.report is first else helper.report, "the self-test of the next day")
    running.cancel()
    await asyncio.wait({running})
    assert second is not None
    assert [one.check for one in second.outcomes] == ["software"]
    assert second.problems == []
    assert read_report(self_test_file(tmp_path / "state", "edge-01")) is None
    saved = read_report(self_test_file(factory.ingest.folder, factory.ingest.id))
    assert (saved is None) == (service == "dashboard")
