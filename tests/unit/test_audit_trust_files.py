"""Certificates, keys and users that a person changes by hand are in the audit log."""

from __future__ import annotations

import asyncio
import json
import os
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from processes import LOOPBACK, write_factory
from served import make_certificate
from structlog.testing import capture_logs

from gateway.audit import trust_files
from gateway.audit.apart import ApartLog, OpenLog
from gateway.audit.files import log_files
from gateway.audit.log import AuditLog
from gateway.audit.trust_files import MOST_ENTRIES, TrustPlaces, TrustWatch, digests_of, trust_places
from gateway.audit.verify import verify
from gateway.settings.audit_section import AuditSection
from gateway.settings.load import load_factory
from gateway.settings.signature_memory import Service

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.audit.apart import Entry


class Log:
    """An audit log in memory; with `error` it can't be written."""

    service, who = "gateway", "edge-01"

    def __init__(self, folder: Path) -> None:
        self.section = AuditSection.model_validate({"folder": str(folder), "begin": True})
        self.entries: list[Entry] = []
        self.error = ""

    async def write(self, entries: Sequence[Entry], nice: int = 0) -> str:
        del nice
        if not self.error:
            self.entries += entries
        return self.error

    def taken(self) -> list[tuple[str, str]]:
        """Return action and object of the entries since the last call."""
        found = [(one.action, one.object) for one in self.entries]
        self.entries.clear()
        return found


@pytest.fixture
def log(tmp_path: Path) -> Log:
    (tmp_path / "audit").mkdir()
    return Log(tmp_path / "audit")


@pytest.fixture
def trusted(tmp_path: Path) -> Path:
    """Return a folder of trusted certificates with a file."""
    folder = tmp_path / "pki" / "trusted" / "certs"
    folder.mkdir(parents=True)
    (folder / "first.der").write_bytes(b"first")
    return folder


async def test_each_change_of_a_folder_is_an_entry(log: Log, trusted: Path) -> None:
    watch = TrustWatch(log, TrustPlaces(folders=(trusted,)))
    await watch.look()
    assert log.taken() == [("trust-files-known", "")]
    (trusted / "second.der").write_bytes(b"second")
    await watch.look()
    assert log.entries[0].after == {"sha256": sha256(b"second").hexdigest()}
    assert log.taken() == [("trust-file-added", str(trusted / "second.der"))]
    (trusted / "second.der").write_bytes(b"another")
    (trusted / "first.der").unlink()
    await watch.look()
    assert log.taken() == [
        ("trust-file-removed", str(trusted / "first.der")), ("trust-file-changed", str(trusted / "second.der")),
    ]  # fmt: skip
    await watch.look()
    assert log.taken() == []


async def test_a_change_while_the_service_is_down_is_found_by_its_next_start(log: Log, trusted: Path) -> None:
    """That is the time in which somebody would change it."""
    await TrustWatch(log, TrustPlaces(folders=(trusted,))).look()
    log.taken()
    (trusted / "second.der").write_bytes(b"second")
    await TrustWatch(log, TrustPlaces(folders=(trusted,))).look()
    assert log.taken() == [("trust-file-added", str(trusted / "second.der"))]


async def test_a_change_that_can_not_be_recorded_is_found_again(log: Log, trusted: Path) -> None:
    watch = TrustWatch(log, TrustPlaces(folders=(trusted,)))
    await watch.look()
    log.taken()
    (trusted / "second.der").write_bytes(b"second")
    log.error = "no space left"
    with capture_logs() as said:
        await watch.look()
    assert [(one["event"], one["error"]) for one in said] == [("audit.not_recorded", "no space left")]
    log.error = ""
    await watch.look()
    assert log.taken() == [("trust-file-added", str(trusted / "second.der"))]


async def test_many_changes_are_recorded_over_several_looks(log: Log, trusted: Path) -> None:
    """A folder that somebody fills does not fill the log at once."""
    watch = TrustWatch(log, TrustPlaces(folders=(trusted,)))
    await watch.look()
    log.taken()
    for number in range(MOST_ENTRIES + 10):
        (trusted / f"more-{number:03}.der").write_bytes(b"%d" % number)
    await watch.look()
    assert len(log.taken()) == MOST_ENTRIES
    await watch.look()
    assert len(log.taken()) == 10


async def test_a_damaged_state_begins_again_with_an_entry(log: Log, trusted: Path) -> None:
    """A person who removes the state does not hide that it begins again."""
    places = TrustPlaces(folders=(trusted,))
    await TrustWatch(log, places).look()
    (log.section.folder / "gateway-edge-01.trust.json").write_bytes(b"{")
    await TrustWatch(log, places).look()
    assert log.taken() == [("trust-files-known", ""), ("trust-files-known", "")]


async def test_more_files_than_the_limit_are_logged(log: Log, trusted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust_files, "MOST_FILES", 3)
    for number in range(5):
        (trusted / f"more-{number}.der").write_bytes(b"x")
    with capture_logs() as said:
        await TrustWatch(log, TrustPlaces(folders=(trusted,))).look()
    assert [one["event"] for one in said] == ["audit.too_many_files"]
    assert log.entries[0].after["files"] == 3


def test_other_things_than_files_are_never_read(tmp_path: Path) -> None:
    """A FIFO would let the thread wait for a writer."""
    os.mkfifo(tmp_path / "fifo.pem")
    (tmp_path / "folder.pem").mkdir()
    (tmp_path / "link.pem").symlink_to(tmp_path / "missing")
    (tmp_path / "real.pem").write_bytes(b"x")
    assert list(digests_of(TrustPlaces(folders=(tmp_path,)))) == [str(tmp_path / "real.pem")]


def test_a_large_file_is_known_by_its_beginning_and_its_size(tmp_path: Path) -> None:
    file = tmp_path / "large.pem"
    file.write_bytes(bytes(3 * trust_files.LARGEST))
    before = digests_of(TrustPlaces(files=(file,)))
    file.write_bytes(bytes(3 * trust_files.LARGEST + 1))
    assert digests_of(TrustPlaces(files=(file,))) != before


def written(section: AuditSection) -> list[dict[str, Any]]:
    return [json.loads(line) for file in log_files(section.folder) for line in file.read_bytes().splitlines()]


async def test_an_entry_has_subject_and_fingerprint_of_the_certificate(tmp_path: Path, trusted: Path) -> None:
    """A person compares the fingerprint with that of the server; the service itself loads no library for it."""
    section = AuditSection.model_validate({"folder": str(tmp_path / "audit"), "begin": True})
    watch = TrustWatch(ApartLog(section, "gateway", "edge-01"), TrustPlaces(folders=(trusted,)))
    await watch.look()
    made, _ = make_certificate(tmp_path)
    (trusted / "box.pem").write_bytes(made.read_bytes())
    await watch.look()
    entry = written(section)[-1]
    assert (entry["action"], entry["who"], entry["object"]) == (
        "trust-file-added", "edge-01", str(trusted / "box.pem"),
    )  # fmt: skip
    (certificate,) = entry["after"]["certificates"]
    assert certificate["subject"] == "CN=localhost"
    assert len(certificate["fingerprint"]) == 64
    assert verify(section.folder).broken is None


def test_each_service_watches_its_own_files(tmp_path: Path) -> None:
    """Not the private data of others, and never a database as a whole."""
    authority, key = make_certificate(tmp_path)
    (tmp_path / "readings.db").write_bytes(b"SQLite format 3\0")
    machine = {"template": "run-test", "connection": f"opc.tcp://{LOOPBACK}:4840?pki=pki"}
    config = write_factory(
        tmp_path / "factory.yaml",
        broker={"url": "mqtts://broker.example", "ca": str(authority)},
        stores=[{"sqlite": {"path": "readings.db"}}],
        dashboard={"users": "users.yaml", "tls": {"certificate": str(authority), "key": str(key)}},
        lines={"line": {"area": "area", "machines": {"m-01": machine}}},
    )
    (tmp_path / "users.yaml").write_text("users: {}")
    certs = tmp_path / "pki" / "trusted" / "certs"
    certs.mkdir(parents=True)
    (certs / "server.der").write_bytes(b"x")
    factory = load_factory(config)
    found = {
        service: {os.path.relpath(file, tmp_path) for file in digests_of(trust_places(factory, service))}
        for service in (Service.GATEWAY, Service.INGEST, Service.DASHBOARD)
    }
    assert found[Service.GATEWAY] == {"factory.yaml", "box.pem", "pki/trusted/certs/server.der"}
    assert found[Service.INGEST] == {"factory.yaml", "box.pem"}
    assert found[Service.DASHBOARD] == {"factory.yaml", "box.pem", "box.key", "users.yaml"}


def test_the_page_describes_certificates_too(tmp_path: Path) -> None:
    """It has the log open, and writes its entries itself."""
    section = AuditSection.model_validate({"folder": str(tmp_path / "audit")})
    made, _ = make_certificate(tmp_path)

    async def look() -> None:
        watch = TrustWatch(OpenLog(audit, section, "dashboard"), TrustPlaces(files=(made,)))
        await watch.look()
        made.write_bytes(made.read_bytes() * 2)
        await watch.look()

    with AuditLog(section) as audit:
        asyncio.run(look())
    last = written(section)[-1]
    assert (last["action"], len(last["after"]["certificates"])) == ("trust-file-changed", 2)
