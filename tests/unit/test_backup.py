"""Archives of gateways: their members, damaged archives, and the effect of a restore on numbers and files."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import tarfile
import zlib
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from processes import write_factory
from rights import with_policy

from gateway.audit.files import log_files
from gateway.audit.log import AuditLog
from gateway.backup import save as saving
from gateway.backup.container import ArchiveWriter, BadArchive
from gateway.backup.manifest import NAME
from gateway.backup.places import fits
from gateway.backup.restore import Options, Restore, read_manifest
from gateway.backup.sealed import WrongPassphrase, seal, unseal
from gateway.cli import main
from gateway.codecs import CODECS, decode
from gateway.common.public_keys import public_text
from gateway.model.part import part_name
from gateway.model.reading import NamedScan
from gateway.model.record import Record
from gateway.settings.audit_section import AuditSection
from gateway.settings.load import load_factory
from gateway.settings.policy import VARIABLE
from gateway.settings.sections import WhenFull
from gateway.settings.signature import sign, signature_file
from gateway.settings.signature_memory import STATE_VARIABLE, Service, remember
from gateway.spool.batch import Batch
from gateway.spool.database import SpoolDatabase
from gateway.spool.files import Spooled, SpoolFiles
from gateway.spool.inspect import inspect, records
from gateway.spool.snapshot import copy_spool, rename_spool

if TYPE_CHECKING:
    from collections.abc import Callable

PASSPHRASE = "kettle-river-41-piano"
TOPIC = "lineside/v1/enterprise/site/area/line/m-01/data"


def record(seq: int, spool: str = "s", codec: str = "json") -> Spooled:
    scan = NamedScan(1_764_000_000_000_000 + seq, {"p": seq})
    return Spooled(seq, TOPIC, CODECS[codec].encode(Record("edge-01", spool, seq, [scan])), 1)


def fill(folder: Path, numbers: range, codec: str = "json") -> None:
    """Commit records into a spool."""
    database = SpoolDatabase(SpoolFiles(folder, "edge-01"), 2**24, WhenFull.DROP_OLDEST)
    database.open()
    counts = database.state.counts.copy()
    counts["acquired"] += len(numbers)
    batch = [record(seq, database.state.spool, codec) for seq in numbers]
    database.write(Batch(batch, [], {}, [], counts, numbers.stop))
    database.close()


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A factory with a spool, certificates, users, an audit log, dead letters and a secret."""
    etc, state = tmp_path / "etc", tmp_path / "state"
    monkeypatch.setenv("LINESIDE_SECRETS", str(tmp_path / "secrets"))
    monkeypatch.setenv("LINESIDE_PKI", str(state / "pki"))
    for folder in (etc / "machines", state / "pki/own/private", state / "pki/own/certs", tmp_path / "secrets"):
        folder.mkdir(parents=True)
    (tmp_path / "secrets" / "broker_password").write_text("s3cret-of-the-broker")
    (etc / "machines" / "own.yaml").write_text(
        "format: 1\nprotocol: opcua\npoints: {p: {node: 'ns=1;s=a', type: float}}\n"
    )
    (etc / "broker.key").write_text("-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\n")
    (etc / "broker.pem").write_text("-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n")
    (state / "pki/own/private/lineside.pem").write_text("-----BEGIN PRIVATE KEY-----\nxyz\n")
    (state / "pki/own/certs/lineside.der").write_bytes(b"certificate")
    (state / "users.yaml").write_text("format: 1\nusers: {}\n")
    (state / "edge-01.totals.json").write_text("{}")
    (state / "edge-02.totals.json").write_text("{}")
    (state / "ingest.dead-letters.jsonl").write_text('{"reason":"x"}\n')
    file = write_factory(
        etc / "factory.yaml",
        gateway={"id": "edge-01", "spool": {"folder": str(state)}},
        broker={
            "url": "mqtts://broker.example:8883", "username": "edge", "password": {"secret": "broker_password"},
            "certificate": str(etc / "broker.pem"), "key": str(etc / "broker.key"),
        },
        ingest={"folder": str(state)},
        lines={
            "line": {
                "area": "area", "machines": {"m-01": {"template": "own", "connection": "opc.tcp://10.0.0.1:4840"}},
            }
        },
    )  # fmt: skip
    fill(state, range(1, 11))
    with AuditLog(AuditSection.model_validate({"folder": state / "audit"})) as audit:
        audit.record("login", who="anna").result(10)
    return file


def run(*arguments: object, stdin: str = "") -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)


def backup(config: Path, *more: str) -> Path:
    file = config.parent.parent / "edge-01.tar.gz"
    result = run("backup", config, file, *more, stdin=f"{PASSPHRASE}\n")
    assert result.exit_code == 0, result.output
    return file


def members(archive: Path) -> dict[str, bytes]:
    """Return the members of an archive, read with the module of the standard library."""
    with tarfile.open(archive) as opened:
        return {one.name: opened.extractfile(one).read() for one in opened.getmembers()}  # type: ignore[union-attr]


def packed(folder: Path, changed: Callable[[dict[str, Any]], None], content: dict[str, bytes]) -> Path:
    """Write an archive with a changed manifest and these members."""
    manifest: dict[str, Any] = {
        "format": 1, "made_by": "test", "time": "2026-12-01", "host": "h", "enterprise": "e", "site": "s",
        "gateway": "edge-01", "ingest": "ingest", "config": "factory.yaml", "digest": "0",
        "folders": {"configuration": str(folder / "etc"), "state": str(folder / "state"),
                    "ingest": str(folder / "state"), "users": str(folder / "state"), "audit": str(folder / "audit")},
        "spools": [], "left_out": [],
        "members": [{"name": name, "size": len(data), "sha256": sha256(data).hexdigest(), "mode": 0o644}
                    for name, data in content.items()],
    }  # fmt: skip
    changed(manifest)
    file = folder / "made.tar.gz"
    with file.open("wb") as opened:
        writer = ArchiveWriter(opened, 0)
        for name, data in ((NAME, json.dumps(manifest).encode()), *content.items()):
            writer.add(name, len(data), io.BytesIO(data))
        writer.close()
    return file


# -- backup --


def test_an_archive_has_everything_of_the_gateway_and_no_secret(config: Path) -> None:
    """It goes to a file server that others can read, and nobody may sign in with its content."""
    found = members(backup(config))
    assert set(found) == {
        NAME, "state/edge-01.spool.db", "configuration/factory.yaml", "configuration/machines/own.yaml",
        "configuration/broker.pem", "state/edge-01.totals.json", "ingest/ingest.dead-letters.jsonl",
        "pki/own/certs/lineside.der", "users/users.yaml", "audit/audit-head.json", "audit/audit-000001.jsonl",
        *(name for name in found if name.startswith("audit/") and name.endswith(".pub")),
    }  # fmt: skip
    whole = b"".join(found.values())
    assert b"PRIVATE KEY" not in whole
    assert b"s3cret" not in whole
    manifest = json.loads(found[NAME])
    assert manifest["gateway"] == "edge-01"
    assert {one["name"]: one["sha256"] for one in manifest["members"]} == {
        name: sha256(data).hexdigest() for name, data in found.items() if name != NAME
    }
    assert {Path(one["name"]).name for one in manifest["left_out"]} == {
        "broker.key", "lineside.pem", "audit-key.pem", "the secret broker_password",
    }  # fmt: skip


@pytest.mark.slow
def test_secrets_are_in_an_archive_when_asked_for_and_then_encrypted(config: Path, tmp_path: Path) -> None:
    """A box that burnt has to come back as itself: with its key, and able to sign in to the broker."""
    archive = backup(config, "--secrets", "--passphrase-stdin")
    whole = b"".join(members(archive).values())
    assert b"PRIVATE KEY" not in whole
    assert b"s3cret" not in whole
    keys = {
        file: (config.parent.parent / file).read_bytes() for file in ("etc/broker.key", "state/audit/audit-key.pem")
    }
    for folder in ("etc", "state", "secrets"):
        shutil.rmtree(tmp_path / folder)
    common = ("restore", archive, "--yes", "--secrets", tmp_path / "secrets", "--passphrase-stdin")
    wrong = run(*common, stdin="another passphrase\n")
    assert wrong.exit_code == 1
    assert "passphrase is wrong" in wrong.stderr
    assert not (tmp_path / "state").exists()
    result = run(*common, stdin=f"{PASSPHRASE}\n")
    assert result.exit_code == 0, result.output
    for file, content in keys.items():
        assert (tmp_path / file).read_bytes() == content
        assert (tmp_path / file).stat().st_mode & 0o777 == 0o600
    secret = tmp_path / "secrets" / "broker_password"
    assert secret.read_text() == "s3cret-of-the-broker"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "state" / "users.yaml").stat().st_mode & 0o777 == 0o600
    assert run("audit", "verify", config).exit_code == 0


def test_a_passphrase_that_is_short_is_refused_before_anything_is_written(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.tar.gz"
    result = run("backup", config, file, "--secrets", "--passphrase-stdin", stdin="short\n")
    assert (result.exit_code, file.exists()) == (1, False)
    assert "write 12 or more" in result.stderr


def test_a_missing_secret_ends_a_backup_of_secrets(config: Path, tmp_path: Path) -> None:
    """An archive that would not bring the gateway back must not look as if it did."""
    (tmp_path / "secrets" / "broker_password").unlink()
    result = run("backup", config, tmp_path / "a.tar.gz", "--secrets", "--passphrase-stdin", stdin=f"{PASSPHRASE}\n")
    assert result.exit_code == 1
    assert "broker_password" in result.stderr


def test_a_disk_without_room_is_found_before_anything_is_written(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = backup(config)
    before = archive.read_bytes()
    monkeypatch.setattr(saving, "ROOM_LEFT", 2**62)
    result = run("backup", config, archive)
    assert result.exit_code == 1
    assert "name a file on another disk" in result.stderr
    assert archive.read_bytes() == before
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_a_backup_that_fails_leaves_the_archive_of_before(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last good archive is never half overwritten, and no copy stays on the disk."""
    archive = backup(config)
    before = archive.read_bytes()

    def fails(*_: object) -> None:
        raise OSError("the disk fails")

    monkeypatch.setattr(ArchiveWriter, "close", fails)
    assert run("backup", config, archive).exit_code == 1
    assert archive.read_bytes() == before
    assert list(archive.parent.glob(".*")) == []


def test_a_damaged_spool_is_named_and_not_saved(config: Path, tmp_path: Path) -> None:
    spool = SpoolFiles(tmp_path / "state", "edge-01")
    spool.db.write_bytes(spool.db.read_bytes()[:4096] + bytes(8192))
    spool.wal.unlink(missing_ok=True)
    result = run("backup", config, tmp_path / "a.tar.gz")
    assert result.exit_code == 1
    assert "the gateway repairs it" in result.stderr


def test_a_copy_of_a_spool_is_of_one_moment_while_records_are_committed(tmp_path: Path) -> None:
    """A file that is copied while its gateway writes would be torn; the copy goes through SQLite."""
    database = SpoolDatabase(SpoolFiles(tmp_path, "edge-01"), 2**24, WhenFull.DROP_OLDEST)
    database.open()
    for seq in range(1, 60):
        counts = database.state.counts.copy()
        counts["acquired"] += 1
        database.write(Batch([record(seq, database.state.spool)], [], {}, [], counts, seq + 1))
        if seq % 20 == 0:
            copied = copy_spool(database.files, tmp_path / f"copy-{seq}")
            assert copied[1:] == (seq + 1, seq, seq)
    database.close()


# -- the numbers of a restored spool --


@pytest.mark.parametrize("codec", ["json", "binary"])
def test_a_renamed_spool_has_its_records_under_another_name(tmp_path: Path, codec: str) -> None:
    """A number means one record: those that the lost gateway has sent since have another name."""
    fill(tmp_path / "a", range(1, 251), codec)
    copied = copy_spool(SpoolFiles(tmp_path / "a", "edge-01"), tmp_path / "copy")
    before = [decode(row.payload) for row in records(SpoolFiles(tmp_path / "a", "edge-01"))]
    renamed = rename_spool(tmp_path / "copy", "edge-01", "0123abcd")
    assert renamed == copied._replace(spool="0123abcd")
    (tmp_path / "b").mkdir()
    files = SpoolFiles(tmp_path / "b", "edge-01")
    shutil.copy(tmp_path / "copy", files.db)
    rows = list(records(files))
    after = [decode(row.payload) for row in rows]
    assert all(row.is_right for row in rows)
    assert [(one.seq, one.scans) for one in after] == [(one.seq, one.scans) for one in before]
    assert {one.spool for one in after} == {"0123abcd"}
    database = SpoolDatabase(files, 2**24, WhenFull.DROP_OLDEST)
    database.open()  # as the gateway does at its start
    assert (database.state.spool, database.state.records, database.state.counts["acquired"]) == ("0123abcd", 250, 250)
    assert database.state.next >= 251
    database.close()


def test_a_damaged_record_stays_damaged_and_is_counted_by_the_gateway(tmp_path: Path) -> None:
    """Its reading was acquired: it must not vanish from the ledger because of a backup."""
    database = SpoolDatabase(SpoolFiles(tmp_path, "edge-01"), 2**24, WhenFull.DROP_OLDEST)
    database.open()
    counts = database.state.counts.copy()
    counts["acquired"] += 2
    broken = Spooled(2, TOPIC, b"{no record", 1)
    database.write(Batch([record(1, database.state.spool), broken], [], {}, [], counts, 3))
    copy_spool(database.files, tmp_path / "copy")
    database.close()
    rename_spool(tmp_path / "copy", "edge-01", "0123abcd")
    (tmp_path / "b").mkdir()
    files = SpoolFiles(tmp_path / "b", "edge-01")
    shutil.copy(tmp_path / "copy", files.db)
    rows = list(records(files))
    assert [(row.seq, row.head_is_right, row.is_right) for row in rows] == [(1, True, True), (2, True, False)]
    assert rows[1].payload == b"{no record"


# -- restore --


def test_everything_comes_back_where_it_was(config: Path, tmp_path: Path) -> None:
    archive = backup(config)
    before = members(archive)
    old = inspect(SpoolFiles(tmp_path / "state", "edge-01")).state
    for folder in ("etc", "state"):
        shutil.rmtree(tmp_path / folder)
    result = run("restore", archive, "--yes", "--format", "json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    for name, data in before.items():
        section, _, rest = name.partition("/")
        if section in {"configuration", "ingest", "users"}:
            place = tmp_path / ("etc" if section == "configuration" else "state") / rest
            assert place.read_bytes() == data
            assert str(place) in said["files"]
    new = inspect(SpoolFiles(tmp_path / "state", "edge-01")).state
    assert (new.records, new.next, new.counts) == (old.records, old.next, old.counts)
    assert new.spool != old.spool
    assert load_factory(config).gateway.id == "edge-01"
    assert run("audit", "verify", config).exit_code == 0, "the public key is enough to verify"


@with_policy
def test_a_restored_configuration_keeps_its_signature_and_makes_no_machine_older(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new box runs it. A box with a newer version says that it will refuse it, until it is signed again."""
    key, policy = Ed25519PrivateKey.generate(), tmp_path / "root" / "policy.yaml"
    policy.parent.mkdir()
    policy.write_text(f"format: 1\nsigners: {{anna: {public_text(key.public_key())}}}\n")
    monkeypatch.setenv(VARIABLE, str(policy))
    monkeypatch.delenv(STATE_VARIABLE, raising=False)
    signature_file(config).write_bytes(sign(load_factory(config), key))
    remember(load_factory(config, service=Service.GATEWAY))
    archive = backup(config)
    assert not any("signed-" in name for name in members(archive)), "an old memory would make the machine older"
    config.write_text(f"{config.read_text()}\n# newer\n")
    signature_file(config).write_bytes(sign(load_factory(config), key))
    remember(load_factory(config, service=Service.GATEWAY))
    done = run("restore", archive, "--yes", "--replace")
    assert done.exit_code == 0, done.output
    assert "the services of this machine will refuse the configuration: " in done.stderr
    assert "this machine has accepted a newer version" in done.stderr
    for folder in ("etc", "state"):
        shutil.rmtree(tmp_path / folder)
    done = run("restore", archive, "--yes", "--format", "json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["refusals"] == []
    remember(load_factory(config, service=Service.GATEWAY))


def test_two_restores_of_one_archive_have_different_names(config: Path, tmp_path: Path) -> None:
    """The gateway that came out of the first restore has used numbers, too."""
    archive = backup(config)
    names = set()
    for number in range(2):
        assert run("restore", archive, "--yes", "--into", tmp_path / str(number)).exit_code == 0
        state = tmp_path / str(number) / (tmp_path / "state").relative_to("/")
        names.add(inspect(SpoolFiles(state, "edge-01")).state.spool)
    assert len(names) == 2


def test_files_that_are_there_are_replaced_only_when_asked(config: Path, tmp_path: Path) -> None:
    """The wrong box, or a box that has collected readings since: a person looks first."""
    archive = backup(config)
    fill(tmp_path / "state", range(11, 16))
    (tmp_path / "etc" / "factory.yaml").write_text("another: file\n")
    refused = run("restore", archive, "--yes")
    assert refused.exit_code == 1
    assert "write --replace" in refused.stderr
    assert "factory.yaml" in refused.stderr
    assert inspect(SpoolFiles(tmp_path / "state", "edge-01")).state.records == 15
    entries = len(log_files(tmp_path / "state" / "audit")[0].read_bytes().splitlines())
    done = run("restore", archive, "--yes", "--replace")
    assert done.exit_code == 0, done.output
    assert inspect(SpoolFiles(tmp_path / "state", "edge-01")).state.records == 10
    assert "the audit log" in done.stderr
    kept = log_files(tmp_path / "state" / "audit")[0].read_bytes().splitlines()
    assert len(kept) == entries + 1, "the log of the box goes on: nobody removes entries with a backup"
    assert json.loads(kept[-1])["action"] == "backup-restored"


def test_a_gateway_that_runs_is_left_alone(config: Path, tmp_path: Path) -> None:
    archive = backup(config)
    database = SpoolDatabase(SpoolFiles(tmp_path / "state", "edge-01"), 2**24, WhenFull.DROP_OLDEST)
    database.open()
    try:
        for command in (("restore", archive, "--yes", "--replace"), ("decommission", config, "--yes")):
            result = run(*command)
            assert result.exit_code == 1
            assert "runs in" in result.stderr
    finally:
        database.close()
    assert inspect(SpoolFiles(tmp_path / "state", "edge-01")).state.records == 10


def test_a_check_changes_nothing(config: Path, tmp_path: Path) -> None:
    archive = backup(config)
    for folder in ("etc", "state"):
        shutil.rmtree(tmp_path / folder)
    before = sorted(tmp_path.rglob("*"))
    result = run("restore", archive, "--check")
    assert result.exit_code == 0
    assert "the archive is whole" in result.stdout
    assert sorted(tmp_path.rglob("*")) == before


def changed_at(whole: bytes, place: int) -> bytes:
    """Return an archive with another byte at a place, or at the first behind it that changes the content.

    The code of a symbol that does not occur, for example, changes nothing (RFC 1951, 3.2.7).
    """
    damaged = whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]
    with suppress(OSError, EOFError, zlib.error):
        if gzip.decompress(damaged) == gzip.decompress(whole):
            return changed_at(whole, place + 1)
    return damaged


@pytest.mark.parametrize("at", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_an_archive_that_was_changed_or_cut_off_changes_nothing(config: Path, tmp_path: Path, at: float) -> None:
    archive = backup(config)
    for folder in ("etc", "state"):
        shutil.rmtree(tmp_path / folder)
    whole = archive.read_bytes()
    place = int(len(whole) * at)
    for damaged in (whole[:place], changed_at(whole, place)):
        archive.write_bytes(damaged)
        result = run("restore", archive, "--yes")
        assert result.exit_code == 1, at
        assert "Traceback" not in result.output
        assert not (tmp_path / "etc").exists()
        assert not (tmp_path / "state").exists()
        assert list(tmp_path.glob(".*")) == []


@pytest.mark.parametrize(
    "name",
    [
        "../etc/passwd", "/etc/passwd", "state/../../etc/passwd", "configuration/../x", "configuration//etc/x",
        "state/edge-02.spool.db", "state/evil.sh", "pki/own/certs/../../x", "audit/x", "users/a/b", "other/x",
        "configuration/a\0b", "ingest/edge-01.spool.db", "state/", "configuration/" + "a" * 260,
    ],
)  # fmt: skip
def test_a_name_that_is_not_of_a_gateway_is_refused(tmp_path: Path, name: str) -> None:
    """A person who makes an archive must not be able to write any other file of the box."""
    section, _, rest = name.partition("/")
    assert not fits(section, rest, "edge-01", "ingest")
    manifest: dict[str, Any] = {}

    def named(made: dict[str, Any]) -> None:
        made["members"] = [{"name": name, "size": 1, "sha256": "0" * 64, "mode": 0o644}]
        manifest.update(made)

    with pytest.raises(BadArchive):
        read_manifest(packed(tmp_path, named, {}))
    assert manifest


def test_a_folder_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    for folder in ("relative", "/a/../b"):

        def changed(made: dict[str, Any], folder: str = folder) -> None:
            made["folders"]["state"] = folder

        with pytest.raises(BadArchive, match="absolute path"):
            read_manifest(packed(tmp_path, changed, {}))


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (tarfile.SYMTYPE, "symbolic link"), (tarfile.LNKTYPE, "hard link"), (tarfile.CHRTYPE, "device"),
        (tarfile.BLKTYPE, "device"), (tarfile.FIFOTYPE, "pipe"), (tarfile.DIRTYPE, "folder"),
        (tarfile.GNUTYPE_LONGNAME, "something else"), (tarfile.XHDTYPE, "something else"),
    ],
)  # fmt: skip
def test_members_that_are_not_files_are_refused(tmp_path: Path, kind: bytes, word: str) -> None:
    """A link in an archive is a way to write where its name does not say."""
    archive = packed(tmp_path, lambda _: None, {"configuration/factory.yaml": b"x"})
    plain = gzip.decompress(archive.read_bytes())[: -2 * 512]
    entry = tarfile.TarInfo("configuration/link")
    entry.type, entry.linkname = kind, "/etc/passwd"
    archive.write_bytes(gzip.compress(plain + entry.tobuf(tarfile.USTAR_FORMAT) + bytes(1024)))
    with Restore(archive, Options()) as restore, pytest.raises(BadArchive, match=word):
        restore.check()
    assert not (tmp_path / "etc").exists()


def test_members_beyond_the_manifest_are_refused(tmp_path: Path) -> None:
    content = {"configuration/factory.yaml": b"x"}

    def without(made: dict[str, Any]) -> None:
        made["members"] = []

    with (
        Restore(packed(tmp_path, without, content), Options()) as restore,
        pytest.raises(BadArchive, match="does not name"),
    ):
        restore.check()

    def larger(made: dict[str, Any]) -> None:
        made["members"][0]["size"] = 2

    with Restore(packed(tmp_path, larger, content), Options()) as restore, pytest.raises(BadArchive, match="says 2"):
        restore.check()


def test_a_link_in_a_place_is_replaced_and_not_followed(tmp_path: Path) -> None:
    """Somebody who may write into the folder must not choose which file a restore by root overwrites."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "etc" / "factory.yaml").symlink_to(tmp_path / "victim")
    archive = packed(tmp_path, lambda _: None, {"configuration/factory.yaml": b"x"})
    with Restore(archive, Options(replace=True)) as restore:
        restore.check()
        restore.apply()
    assert (tmp_path / "victim").read_text() == "mine"
    assert not (tmp_path / "etc" / "factory.yaml").is_symlink()


@pytest.mark.slow
def test_a_changed_member_with_a_changed_hash_is_found_with_the_passphrase() -> None:
    """The hashes protect against a bad disk; against a person only the passphrase does."""
    data = seal({"a": "b"}, {"x": b"y"}, PASSPHRASE, b"the manifest")
    assert unseal(data, PASSPHRASE, b"the manifest").contents == {"x": b"y"}
    with pytest.raises(WrongPassphrase, match="was changed"):
        unseal(data, PASSPHRASE, b"another manifest")


def test_a_restore_that_was_killed_leaves_no_keys_behind(config: Path, tmp_path: Path) -> None:
    """The next one, and a decommission, remove the folder in which it had decrypted them."""
    archive = backup(config)
    left = tmp_path / "state" / ".lineside-restore-edge-01.0011aabb"
    other = tmp_path / "state" / ".lineside-restore-edge-02.0011aabb"
    for folder in (left, other):
        folder.mkdir()
        (folder / "000001").write_text("-----BEGIN PRIVATE KEY-----")
    assert run("restore", archive, "--check", "--replace").exit_code == 0
    assert [one.name for one in (tmp_path / "state").glob(".lineside-restore-*")] == [other.name]


def test_an_archive_without_a_spool_says_so(config: Path, tmp_path: Path) -> None:
    """It is the archive of a gateway that runs elsewhere, by mistake."""
    (tmp_path / "state" / "edge-01.spool.db").unlink()
    result = run("backup", config, tmp_path / "a.tar.gz")
    assert result.exit_code == 0
    assert "without a spool" in result.stderr
    assert f"{tmp_path / 'state'} has none" in result.stderr


def test_keys_are_found_by_their_content(config: Path, tmp_path: Path) -> None:
    """A key may have any name, and the signature of the configuration belongs to it."""
    key = config.parent / "broker.key"
    config.write_text(config.read_text().replace(str(key), str(key.rename(config.parent / "key-of-2026"))))
    (config.parent / "factory.yaml.sig").write_text("{}")
    (tmp_path / "state" / "edge-01.retained.json").write_text('{"topics": []}')
    assert run("validate", config).exit_code == 0
    result = run("backup", config, tmp_path / "a.tar.gz", "--format", "json")
    assert result.exit_code == 0, result.output
    assert {str(key.with_name("key-of-2026"))} <= {one["name"] for one in json.loads(result.stdout)["left_out"]}
    found = members(tmp_path / "a.tar.gz")
    assert {"configuration/factory.yaml.sig", "state/edge-01.retained.json"} <= found.keys()
    assert not any(b"PRIVATE KEY" in content for content in found.values())


# -- decommission --


def test_decommissioning_overwrites_before_it_removes(config: Path, tmp_path: Path) -> None:
    """An open descriptor sees the content on the disk: the file that had the readings has none of them any more."""
    secret = tmp_path / "secrets" / "broker_password"
    descriptors = {
        file: os.open(tmp_path / file, os.O_RDONLY)
        for file in ("state/edge-01.spool.db", "state/pki/own/private/lineside.pem", "etc/broker.key", secret)
    }
    listed = run("decommission", config, "--list", "--format", "json")
    assert listed.exit_code == 0
    kinds = json.loads(listed.stdout)["files"]
    assert str(secret) in kinds["secrets"]
    assert str(tmp_path / "etc" / "broker.key") in kinds["keys"]
    assert str(tmp_path / "state" / "edge-02.totals.json") not in [file for files in kinds.values() for file in files]
    done = run("decommission", config, "--yes")
    assert done.exit_code == 0, done.output
    assert "flash media" in done.stderr
    for file, descriptor in descriptors.items():
        assert not (tmp_path / file).exists()
        assert os.fstat(descriptor).st_size == 0
        os.close(descriptor)
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["edge-02.totals.json"], "of another gateway"
    assert config.exists()


def test_what_a_user_or_another_gateway_keeps_in_the_folders_stays(config: Path, tmp_path: Path) -> None:
    """A folder of the gateway may be one that somebody else uses, too."""
    state = tmp_path / "state"
    others = [
        state / "edge-01.b.spool.db", state / "edge-01.b.totals.json", state / "edge-01.notes",
        state / "audit" / "report.pdf", state / "pki" / "root-ca.pem", state / "pki" / "other" / "key.pem",
    ]  # fmt: skip
    own = [
        state / ".lineside-restore-edge-01.00" / "000001", state / "edge-01.spool.damaged-1",
        state / f"{part_name('edge-01', 2)}.spool.db", state / "edge-01.retained.json",
        state / "pki" / "rejected" / "a.der", state / "audit" / "audit.lock",
    ]  # fmt: skip
    for file in (*others, *own):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(file.name.encode())
    assert run("decommission", config, "--yes").exit_code == 0
    assert [file for file in others if not file.exists() or file.read_bytes() != file.name.encode()] == []
    left = {file for file in state.rglob("*") if file.is_file()} - {*others, state / "edge-02.totals.json"}
    assert left == set()


def test_a_lock_that_is_a_link_leads_nowhere(config: Path, tmp_path: Path) -> None:
    """Root removes the files of a user who can make links: the file behind one keeps its content and its owner."""
    precious = tmp_path / "precious"
    precious.write_text("content")
    lock = tmp_path / "state" / "edge-01.spool.lock"
    lock.unlink(missing_ok=True)
    lock.symlink_to(precious)
    result = run("decommission", config, "--yes")
    assert result.exit_code == 1
    assert f"{lock}: is a symbolic link" in result.output.replace("'", "")
    assert precious.read_text() == "content"
    lock.unlink()
    assert run("decommission", config, "--yes").exit_code == 0


def test_the_audit_log_is_kept_when_asked_and_has_the_entry(config: Path, tmp_path: Path) -> None:
    assert run("decommission", config, "--yes", "--keep-audit").exit_code == 0
    last = json.loads(log_files(tmp_path / "state" / "audit")[-1].read_bytes().splitlines()[-1])
    assert (last["action"], last["object"]) == ("decommissioned", "edge-01")
    assert run("audit", "verify", config).exit_code == 0


def test_without_a_yes_nothing_is_removed(config: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    result = run("decommission", config, stdin="n\n")
    assert result.exit_code != 0
    assert "10 readings" in result.stderr
    assert set(before) <= set(tmp_path.rglob("*"))


def test_a_broker_that_is_away_removes_nothing(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise nobody could clear the messages any more: the key for the broker would be gone."""
    monkeypatch.setattr("gateway.backup.retained.CONNECT_SECONDS", 0.2)
    text = config.read_text().replace("mqtts://broker.example:8883", "mqtts://127.0.0.1:1")
    config.write_text(text)
    result = run("decommission", config, "--yes", "--retained")
    assert result.exit_code == 3
    assert "nothing was removed" in result.stderr
    assert (tmp_path / "state" / "edge-01.spool.db").exists()
