"""The status of a box out of its files, whatever is in them; and secrets that must not leave it."""

from __future__ import annotations

import json
import os
import stat
import tarfile
import time
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner
from processes import write_factory

from gateway.cli import main
from gateway.common.atomic_file import save_json
from gateway.common.dead_letters import DeadLetters
from gateway.common.status_file import RecentCounts, StatusFile, process_start, status_file
from gateway.model.part import part_name
from gateway.mqtt.packets import ReceivedMessage
from gateway.settings.load import load_factory
from gateway.settings.reload import outcome_file
from gateway.spool.spool import Spool
from gateway.status import box as box_module
from gateway.status import diagnose as diagnose_module
from gateway.status import fleet as fleet_module
from gateway.status.box import read_box
from gateway.status.box_text import ago, box_text, since, size_text
from gateway.status.fleet import Fleet
from gateway.status.scrub import scrub
from gateway.status.services import ServiceState, read_gateway, read_ingests
from gateway.workers.assignment import assignment_file, save_assignment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from click.testing import Result

    from gateway.settings.factory import Factory

PRESS = {"template": "curing-press", "connection": "modbus+tcp://127.0.0.1:1?unit=1"}


@pytest.fixture
def factory(tmp_path: Path) -> Factory:
    write_factory(
        tmp_path / "factory.yaml",
        gateway={"id": "edge-01", "spool": {"folder": str(tmp_path / "spool")}},
        broker={"url": "mqtt://127.0.0.1:1"},
        ingest={"folder": str(tmp_path / "ingest")},
        lines={"line": {"area": "area", "machines": {"m-01": PRESS}}},
    )
    (tmp_path / "spool").mkdir()
    (tmp_path / "ingest").mkdir()
    return load_factory(tmp_path / "factory.yaml")


LINK = {"connected": True, "since": 1_764_000_000_000_000, "broker": "mqtt://b", "error": ""}

INGEST: dict[str, Any] = {
    "config": "abc", "file": "/f.yaml", "broker": LINK,
    "report": {
        "config": "abc", "records": 5, "readings": 10, "dead_letters": 0, "lag_ms": 12.5,
        "stored": 1_764_000_000_000_000,
        "stores": [{"store": "sqlite", "state": "available", "since": 1_764_000_000_000_000, "error": ""}],
        "latency_ms": {"p50": 10.0, "p99": None},
    },
}  # fmt: skip


async def write_ingest(folder: Path, name: str, *, stopped: bool, **changed: Any) -> Path:
    file = status_file(folder, name)
    writer = StatusFile(file, {"service": "ingest", "id": name}, lambda: INGEST | changed)
    await writer.write(stopped=stopped)
    return file


async def test_ingests_of_a_folder_are_found_with_their_states(factory: Factory):
    """Several may work with one file, started with `--id`."""
    folder = factory.ingest.folder
    assert [(one.id, one.state) for one in read_ingests(factory)] == [("ingest", ServiceState.ABSENT)]
    (folder / "second.alive").touch()
    await write_ingest(folder, "second", stopped=False)
    await write_ingest(folder, "third", stopped=True)
    status_file(folder, "broken").write_bytes(b"{")
    found = {one.id: one for one in read_ingests(factory)}
    assert {name: one.state for name, one in found.items()} == {
        "ingest": ServiceState.ABSENT, "second": ServiceState.RUNNING, "third": ServiceState.STOPPED,
    }  # fmt: skip
    status = found["second"].status
    assert status is not None
    assert (status.pid, status.report.lag_ms, status.report.stores[0].store) == (os.getpid(), 12.5, "sqlite")
    assert status.has_process


async def test_an_ingest_without_heartbeat_hangs_or_is_dead(factory: Factory):
    """Its process decides: the heartbeat of a killed process stays where it is."""
    folder = factory.ingest.folder
    alive = folder / "ingest.alive"
    alive.touch()
    os.utime(alive, (time.time() - 60, time.time() - 60))
    file = await write_ingest(folder, "ingest", stopped=False)
    assert read_ingests(factory)[0].state is ServiceState.HANGS
    content = json.loads(file.read_bytes())
    file.write_text(json.dumps(content | {"process_start": content["process_start"] + 1}))
    assert read_ingests(factory)[0].state is ServiceState.DEAD


GATEWAY: dict[str, Any] = {
    "file": "/f.yaml", "broker": LINK,
    "report": {
        "balanced": True, "spool_bytes": 0, "config": "abc", "schedule": {"due": 10, "missed": 0},
        "ledger": {"acquired": 0, "unchanged": 0, "pending": 0, "confirmed": 0, "dropped": {}},
        "clock": {"trusted": True, "steps": 0}, "points": {"configured": 1, "good": 1, "uncertain": 0, "bad": 0},
    },
    "recent": {"seconds": 60, "missed": 0, "dropped": 0},
    "machines": {"counts": {"online": 1}, "not_online": []},
}  # fmt: skip


@pytest.fixture
async def running(factory: Factory) -> AsyncIterator[Factory]:
    """A gateway that runs, as its files show it: the lock, the heartbeat, the outcome of the start, the spool."""
    folder = factory.gateway.spool.folder
    async with Spool(factory.gateway.spool, "edge-01"):
        (folder / "edge-01.alive").touch()
        content = {"outcome": "started", "time": 1, "pid": os.getpid(), "file": str(factory.file)}
        save_json(outcome_file(factory.gateway), content | {"config": factory.digest})
        await write_gateway(factory)
        yield factory


async def write_gateway(factory: Factory, *, worker: int = 0, **changed: Any) -> None:
    head = {"service": "gateway", "id": "edge-01", "worker": worker}
    file = status_file(factory.gateway.spool.folder, part_name("edge-01", worker))
    await StatusFile(file, head, lambda: GATEWAY | {"config": factory.digest} | changed).write(stopped=False)


def found(factory: Factory) -> tuple[int, list[tuple[str, str]]]:
    box = read_box(factory)
    assert box_text(box)
    return box.code, [(finding.about, finding.text) for finding in box.findings]


async def test_a_gateway_that_is_well_has_no_findings(running: Factory):
    """A status that always finds something is not read."""
    assert found(running) == (0, [])


UNWELL = {"machine": "e/s/a/l/m-01", "state": "offline", "reason": "no_response", "since": 1_764_000_000_000_000}


@pytest.mark.parametrize(
    ("changed", "about", "text"),
    [
        ({"broker": LINK | {"connected": False, "error": "refused"}}, "broker", "is not connected to mqtt://b since"),
        ({"recent": {"seconds": 60, "missed": 7, "dropped": 0}}, "schedule", "7 scans were missed"),
        ({"recent": {"seconds": 60, "missed": 0, "dropped": 8}}, "ledger", "8 readings were dropped"),
        ({"report": GATEWAY["report"] | {"clock": {"trusted": False}}}, "clock", "does not trust the clock"),
        ({"machines": {"counts": {"offline": 1}, "not_online": [UNWELL]}}, "machines",
         "1 machine is offline (no_response): m-01"),
        ({"machines": {"counts": {}, "not_online": [UNWELL | {"state": "starting"}]}}, "machines", "is starting"),
        ({"version": "0.0.1"}, "gateway", "the gateway runs version 0.0.1"),
    ],
)  # fmt: skip
async def test_a_state_that_needs_a_person_is_a_finding(
    running: Factory, changed: dict[str, Any], about: str, text: str
):
    """Each has an instruction, or says what is wrong."""
    await write_gateway(running, **changed)
    code, [(part, said)] = found(running)
    assert (code, part) == (1, about)
    assert text in said


async def test_findings_of_the_spool_come_from_its_files(running: Factory, monkeypatch: pytest.MonkeyPatch):
    """The gateway may be dead for days when a person looks."""
    folder = running.gateway.spool.folder
    DeadLetters(folder / "edge-01.set-aside.jsonl", 2**20).add("t", "no", b"x")
    monkeypatch.setattr(box_module, "NEARLY_FULL", -1.0)
    monkeypatch.setattr(box_module, "LEAST_FREE", 2**62)
    code, findings = found(running)
    assert (code, [about for about, _ in findings]) == (1, ["spool", "spool", "disk"])
    assert "1 record set aside" in findings[1][1]


async def test_a_changed_file_a_refused_file_and_another_file_differ(running: Factory):
    """Each needs another action."""
    outcome = {"time": 1, "pid": os.getpid(), "file": str(running.file), "config": "before"}
    for content, text in (
        ({"outcome": "started"}, "the file has changed since"),
        (
            {"outcome": "refused", "problems": ["f.yaml:3:1: wrong"]},
            "has refused the changed file: f.yaml:3:1: wrong",
        ),
        ({"outcome": "started", "file": "/other.yaml"}, "runs another file, /other.yaml"),
    ):
        save_json(outcome_file(running.gateway), outcome | content)
        code, [(about, said)] = found(running)
        assert (code, about) == (1, "configuration")
        assert text in said


async def test_a_worker_without_a_present_file_is_named(running: Factory):
    """It hangs, or its disk refuses the file; the files of the others are shown."""
    folder = running.gateway.spool.folder
    save_assignment(assignment_file(folder, "edge-01"), {"e/s/a/l/m-01": 1, "e/s/a/l/m-02": 2})
    await write_gateway(running, worker=1)
    assert found(running) == (1, [("gateway", "worker 2 has not written its status file")])
    await write_gateway(running, worker=2)
    assert found(running) == (0, [])


async def test_findings_of_an_ingest(running: Factory):
    """A store that is away fills the spools of all boxes."""
    (running.ingest.folder / "ingest.alive").touch()
    report = INGEST["report"]
    store = report["stores"][0] | {"state": "unavailable", "error": "401"}
    changed = {"lag_ms": 120_000.0, "dead_letters": 2, "stores": [store]}
    await write_ingest(running.ingest.folder, "ingest", stopped=False, report=report | changed)
    code, findings = found(running)
    assert (code, [about for about, _ in findings]) == (1, ["ingest"] * 3)
    assert [text.partition(" since")[0] for _, text in findings] == [
        "store sqlite is unavailable", "the latest readings were stored 120 s after their time", "2 dead letters",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        b"", b"null", b"[]", b"{}", b"[" * 10**6, b"\xff", b'{"v": 1}', b'{"v": 2}', b"9" * 10_000,
        b"x" * (9 * 2**20),
        json.dumps({"v": 1, "service": "gateway", "pid": -1}).encode(),
    ],
    ids=range(11),
)  # fmt: skip
def test_damaged_files_of_a_box_are_no_traceback(factory: Factory, content: bytes):
    """A power cut may leave anything in them."""
    names = ("spool/edge-01.status.json", "spool/edge-01.configuration.json", "spool/edge-01.workers.json",
             "ingest/ingest.status.json", "ingest/other.status.json")  # fmt: skip
    for name in names:
        (factory.file.parent / name).write_bytes(content)
    found = read_box(factory)
    assert found.code == box_module.NOT_RUNNING
    assert box_text(found)
    assert read_gateway(factory).parts == ()


@pytest.mark.parametrize("closed", ["spool", "ingest"])
def test_a_user_without_rights_is_not_shown_a_dead_service(
    factory: Factory, closed: str, monkeypatch: pytest.MonkeyPatch
):
    """The lock of a gateway that runs can't be seen then."""
    folder, real = factory.file.parent / closed, os.access

    def access(path: Path, mode: int) -> bool:  # the tests run as root, who may read everything
        return path != folder and real(path, mode)

    monkeypatch.setattr(os, "access", access)
    result = lineside("status", str(factory.file))
    assert result.exit_code == 1
    assert f"{folder}: can't be read: run this as the user of the services" in result.output


def test_a_later_process_with_the_same_id_is_another_process():
    """Process ids are used again."""
    assert process_start(os.getpid()) > 0
    assert process_start(2**30) == 0


def test_growth_of_counts_is_that_of_the_last_minute(monkeypatch: pytest.MonkeyPatch):
    """A scan that was missed last week is not acted on today."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    recent = RecentCounts()
    grown = []
    for missed in (0, 0, 3, *[3] * 15):
        grown.append(recent.add({"missed": missed})["missed"])
        now[0] += 5.0
    assert grown == [0, 0, *[3] * 12, *[0] * 4]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s"), (119, "119 s"), (121, "2 min"), (7_199, "120 min"), (7_201, "2 h"), (86_400 * 3, "3 d")],
)
def test_ages_are_short(seconds: float, text: str):
    assert ago(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 kB"), (12_345, "12 kB"), (1_500_000, "1.5 MB"), (2 * 2**30, "2.1 GB")]
)
def test_sizes_have_a_unit_that_fits(size: float, text: str):
    assert size_text(size) == text


def test_a_time_that_is_not_known_is_not_shown():
    assert since(None) == ""


def lineside(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.mark.parametrize("command", ["status", "fleet", "diagnose"])
def test_a_missing_file_and_a_folder_are_one_line(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """No traceback for a typing mistake."""
    monkeypatch.chdir(tmp_path)
    missing = lineside(command, str(tmp_path / "none.yaml"))
    assert missing.exit_code == 1
    assert "Traceback" not in missing.output
    folder = lineside(command, str(tmp_path))
    assert (folder.exit_code, "is a directory" in folder.output) == (2, True)


def test_fleet_without_a_file_says_what_is_missing():
    result = lineside("fleet")
    assert (result.exit_code, "Missing argument 'CONFIG'" in result.output) == (2, True)


# -- the fleet --


def message(topic: str, content: object, *, retain: bool = True) -> ReceivedMessage:
    payload = content if isinstance(content, bytes) else json.dumps(content).encode()
    return ReceivedMessage(topic, payload, 0, retain)


def birth(**more: Any) -> dict[str, Any]:
    return {"state": "online", "instance": "a", "host": "box"} | more


def test_number_of_members_is_bounded(monkeypatch: pytest.MonkeyPatch):
    """A client may invent gateways without end."""
    monkeypatch.setattr(fleet_module, "MAX_MEMBERS", 3)
    fleet = Fleet("r")
    for number in range(5):
        fleet.take(message(f"r/e/s/_gateways/g{number}/state", birth()))
    fleet.take(message("r/e/s/_gateways/g1/state", birth(state="offline")))
    assert [(one.member.name, state.state) for state, one in fleet.gateways] == [
        ("g0", "online"), ("g1", "offline"), ("g2", "online"),
    ]  # fmt: skip
    assert fleet.ignored == 2


@pytest.mark.parametrize("name", ["\x1b[2J", "\u202e", "x" * 1000, "", '"'], ids=range(5))
def test_a_name_that_would_steer_a_terminal_is_not_shown(name: str):
    """A topic is text of another client."""
    fleet = Fleet("r")
    fleet.take(message(f"r/e/s/_gateways/{name}/state", birth()))
    fleet.take(message(f"r/e/{name}/_ingests/i/state", birth()))
    assert (fleet.gateways, fleet.ingests, fleet.ignored) == ([], [], 2)


def test_a_member_whose_state_was_cleared_is_gone():
    """That is how a person removes a box that was scrapped."""
    fleet = Fleet("r")
    fleet.take(message("r/e/s/_gateways/g/state", birth()))
    fleet.take(message("r/e/s/_gateways/g/state", b""))
    assert fleet.gateways == []


@pytest.mark.parametrize(
    "topic",
    ["r/e/s/_gateways/g/data", "r/e/s/_gateways/g", "r/e/s/_others/g/state", "x/e/s/_gateways/g/state",
     "r/e/s/_gateways/g/state/more", "r"],
)  # fmt: skip
def test_other_topics_are_not_members(topic: str):
    fleet = Fleet("r")
    fleet.take(message(topic, birth()))
    assert (fleet.gateways, fleet.ingests, fleet.ignored) == ([], [], 0)


# -- the archive --

SECRETS = {
    "broker_password": "br0ker-pa55", "influx_token": "t0ken/of+influx==", "plc_password": "plc pa55&word",
    "not_configured": "0ther-secret",
}  # fmt: skip
FILE_SECRET, VARIABLE = "from-a-f1le", "from-a-var1able"

LOG = """
{"event": "x", "error": "GET http://edge:hunt3r2@tsdb:8086/write?u=edge&p=1&password=pl41n"}
{"event": "x", "error": "login with br0ker-pa55 failed", "url": "https://h/?token=t0ken%2Fof%2Binflux%3D%3D"}
Authorization: Bearer ey1234567890abcdef
authorization: Basic ZWRnZTpodW50M3Iy
db password: s0me-pass, next
-----BEGIN RSA PRIVATE KEY-----
DEK-Info: AES-256-CBC,1
MIIEvQIBADANBgkqh
-----END RSA PRIVATE KEY-----
the last line
"""

FORBIDDEN = [
    *SECRETS.values(), FILE_SECRET, VARIABLE, "hunt3r2", "pl41n", "t0ken%2F", "ey1234567890", "ZWRnZTpodW50",
    "s0me-pass", "MIIEvQIBADANBgkqh", "br0ker",
]  # fmt: skip


def plant(folder: Path) -> Path:
    """Write a factory with a secret in every place that takes one."""
    (folder / "password").write_text(FILE_SECRET)
    server = {
        "url": "opc.tcp://127.0.0.1:1", "namespace": "urn:x", "username": "operator",
        "password": {"secret": "plc_password"}, "pki": str(folder / "pki"),
    }  # fmt: skip
    machines = {"m-01": PRESS, "m-02": {"template": "packml-opcua", "connection": server}}
    return write_factory(
        folder / "factory.yaml",
        gateway={"id": "edge-01", "spool": {"folder": str(folder / "spool")}},
        broker={"url": "mqtt://127.0.0.1:1", "username": "edge-user", "password": {"secret": "broker_password"}},
        ingest={"folder": str(folder / "ingest")},
        stores=[
            {"influxdb": {"url": "http://127.0.0.1:1", "bucket": "b", "token": {"secret": "influx_token"}}},
            {"influxdb": {"url": "http://127.0.0.1:1", "api": "v1", "database": "d", "username": "writer",
                          "password": {"file": str(folder / "password")}}},
        ],
        lines={"line": {"area": "area", "machines": machines}},
    )  # fmt: skip


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The files of an archive of a plant with secrets everywhere."""
    keys = tmp_path / "keys"
    keys.mkdir()
    for name, value in SECRETS.items():
        (keys / name).write_text(f"{value}\n")
    monkeypatch.setenv("LINESIDE_SECRETS", str(keys))
    monkeypatch.setenv("LINESIDE_SECRET_OTHER", VARIABLE)
    log = tmp_path / "lineside.log"
    log.write_text(LOG + VARIABLE)
    out = tmp_path / "out" / "ticket.tar.gz"
    out.parent.mkdir()
    result = lineside("diagnose", str(plant(tmp_path)), "--out", str(out), "--log-file", str(log))
    assert (result.exit_code, str(out) in result.output) == (0, True), result.output
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert list(out.parent.iterdir()) == [out]
    return unpacked(out)


def unpacked(file: Path) -> dict[str, bytes]:
    found = {}
    with tarfile.open(file) as opened:
        for entry in opened.getmembers():
            content = opened.extractfile(entry)
            assert content is not None
            found[entry.name.partition("/")[2]] = content.read()
    return found


def test_no_secret_is_in_the_archive(archive: dict[str, bytes]):
    """Tickets are read by many people."""
    for secret in FORBIDDEN:
        assert [name for name, content in archive.items() if secret.encode() in content] == [], secret


def test_the_archive_has_what_a_helper_needs(archive: dict[str, bytes]):
    """A helper does not see the box."""
    manifest = json.loads(archive["manifest.json"])
    assert {part["name"] for part in manifest["parts"]} | {"manifest.json"} == set(archive)
    assert {part["name"] for part in manifest["missing"]} == {
        "ledger.json",
        "metrics-gateway.txt",
        "metrics-ingest.txt",
    }
    assert all(part["reason"] for part in manifest["missing"])
    configuration = yaml.safe_load(archive["configuration.yaml"])
    assert configuration["broker"]["password"] == {"secret": "broker_password"}
    assert configuration["broker"]["username"] == "edge-user"
    assert len(configuration["machines"]) == 2
    system = json.loads(archive["system.json"])
    assert {"pydantic", "structlog", "asyncua"} <= set(system["libraries"])
    assert system["memory"]["total"] > 0
    assert json.loads(archive["status.json"])["exit_code"] == 3
    assert archive["log-1.txt"].decode().count("the last line") == 1
    assert len(json.loads(archive["plan.json"])) == 2
    assert json.loads(archive["disk.json"])[0]["disk"]["free"] > 0


def test_an_archive_of_a_configuration_with_errors_has_the_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """That is when help is needed most."""
    monkeypatch.chdir(tmp_path)
    config = write_factory(tmp_path / "factory.yaml", broker={"url": "mqtt://b"}, lines={}, nonsense=1)
    log = tmp_path / "log"
    log.write_text("x\n")
    result = lineside("diagnose", str(config), "--log-file", str(log))
    assert result.exit_code == 1
    [file] = tmp_path.glob("lineside-*.tar.gz")
    found = unpacked(file)
    assert b"unknown key 'nonsense'" in found["problems.txt"]
    assert set(found) == {"manifest.json", "problems.txt", "system.json", "log-1.txt"}


def test_a_part_that_fails_costs_no_other_part(archive: dict[str, bytes]):
    """Something is broken on the box, or nobody would ask for an archive."""
    assert archive

    def broken() -> str:
        raise ZeroDivisionError("with br0ker-pa55")

    def missing() -> str:
        raise OSError(5, "input/output error")

    made = diagnose_module.pack(
        [
            diagnose_module.Part("a", "", broken),
            diagnose_module.Part("b", "", lambda: "fine"),
            diagnose_module.Part("c", "", missing),
        ],
        "n",
    )
    assert made.missing == {
        "a": "ZeroDivisionError: with [secret]", "c": "OSError: [Errno 5] input/output error",
    }  # fmt: skip
    with tarfile.open(fileobj=BytesIO(made.content)) as opened:
        assert opened.getnames() == ["n/manifest.json", "n/b"]


def test_the_journal_is_read_where_there_is_journalctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A program of the system may be missing, fail, or say nothing."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(diagnose_module.NotAvailable, match="--log-file"):
        diagnose_module.read_journal()


def test_only_the_end_of_a_long_log_is_in_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A log of a year may have gigabytes."""
    monkeypatch.setattr(diagnose_module, "MAX_PART", 1000)
    log = tmp_path / "log"
    log.write_text("".join(f"{number}\n" for number in range(100_000)))
    text = diagnose_module.read_log_file(log)
    assert len(text) <= 1000
    assert text.endswith("99999\n")


@pytest.mark.parametrize("piece", ["://", "password", "-----BEGIN PRIVATE KEY-----", "bearer ", "a://b:"])
def test_no_text_takes_long(piece: str):
    """The log of a gateway contains text of devices and other clients."""
    began = time.process_time()
    scrub(piece * (1_000_000 // len(piece)))
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "text",
    [
        "password: {secret: broker_password}", "secret 'x' is missing", "mqtt://broker:1883", "the token of a lexer",
        "password:\n    secret: broker_password", "keep_alive: 15.0", "user@host", "passwords are not logged",
    ],
)  # fmt: skip
def test_other_text_is_not_changed(text: str):
    """An archive full of `[secret]` helps nobody."""
    assert scrub(text) == text
