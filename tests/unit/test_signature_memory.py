"""An older configuration with its right signature is refused by a machine that has accepted a newer version."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from command_line import lineside
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from rights import with_policy
from structlog.testing import capture_logs

from gateway.backup.decommission import plan
from gateway.common.public_keys import public_text
from gateway.settings import signature
from gateway.settings.load import load_factory
from gateway.settings.policy import VARIABLE, Untrusted
from gateway.settings.signature import sign, signature_file
from gateway.settings.signature_memory import STATE_VARIABLE, Service, memory_file, remember

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = with_policy

FACTORY = """
format: 1
factory: {{enterprise: acme, site: north}}
gateway: {{id: edge-01, spool: {{folder: state}}}}
broker: {{url: "mqtt://{broker}"}}
ingest: {{folder: ingest}}
lines: {{one: {{area: area, machines: {{m-01: {{template: curing-press, connection: "modbus+tcp://10.20.1.11"}}}}}}}}
"""

MORNING = datetime(2026, 12, 1, 6, tzinfo=UTC)


class Box:
    """A machine that runs signed configurations, and the computer where they are signed."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = folder / "factory.yaml"
        self.policy = folder / "etc" / "policy.yaml"
        self.policy.parent.mkdir()
        self.memory = memory_file(folder / "state", self.file)
        self.key = Ed25519PrivateKey.generate()
        self.require()
        self._monkeypatch = monkeypatch
        monkeypatch.setenv(VARIABLE, str(self.policy))
        monkeypatch.delenv(STATE_VARIABLE, raising=False)

    def require(self, more: str = "") -> None:
        """Write the policy with the key, and more lines."""
        self.policy.write_text(f"format: 1\nsigners: {{anna: {public_text(self.key.public_key())}}}\n{more}")

    def signed(self, broker: str, when: datetime) -> dict[Path, bytes]:
        """Write and sign a configuration on a new computer; return its files, as somebody might keep them."""
        self.file.write_text(FACTORY.format(broker=broker))
        signature_file(self.file).unlink(missing_ok=True)
        return self.sign_again(when)

    def sign_again(self, when: datetime) -> dict[Path, bytes]:
        class Clock(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> datetime:
                return when.astimezone(tz)

        self._monkeypatch.setattr(signature, "datetime", Clock)
        signature_file(self.file).write_bytes(sign(load_factory(self.file), self.key))
        return {file: file.read_bytes() for file in (self.file, signature_file(self.file))}

    def put(self, files: dict[Path, bytes]) -> None:
        for file, content in files.items():
            file.write_bytes(content)

    def start(self, service: Service = Service.GATEWAY) -> str:
        """Load as a service does; returns the broker."""
        factory = load_factory(self.file, service=service)
        remember(factory)
        return str(factory.broker.url)

    def refusal(self, service: Service = Service.GATEWAY) -> str:
        with pytest.raises(Untrusted) as caught:
            load_factory(self.file, service=service)
        [problem] = caught.value.problems
        return str(problem)


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    return Box(tmp_path, monkeypatch)


def test_an_older_version_is_refused_with_both_times_and_what_to_do(box: Box) -> None:
    """The attack: the files of last month, with their right signature, and with a broker that is trusted no more."""
    old = box.signed("old.example", MORNING)
    box.start()
    box.signed("new.example", MORNING + timedelta(days=30))
    box.start()
    box.put(old)
    said = box.refusal()
    assert said == (
        f"{box.file}.sig:1:1: time: was signed at 2026-12-01T06:00:00Z, and this machine has accepted a newer "
        f"version, signed at 2026-12-31T06:00:00Z ({box.memory}); to go back to it, review it, and sign it again: "
        f"lineside sign {box.file} --key KEY"
    )
    assert len(load_factory(box.file).machines) == 1, "commands that look at it need no signature"


def test_the_old_text_signed_again_is_accepted(box: Box) -> None:
    """A person who goes back on purpose needs nothing but the key."""
    old = box.signed("old.example", MORNING)
    box.start()
    box.signed("new.example", MORNING + timedelta(days=1))
    box.start()
    box.put(old)
    box.refusal()
    box.sign_again(MORNING + timedelta(days=2))
    assert "old.example" in box.start()


def test_the_same_version_starts_as_often_as_it_likes(box: Box) -> None:
    """A restart, or the same text that was signed again."""
    first = box.signed("a.example", MORNING)
    box.start()
    box.start()
    box.sign_again(MORNING + timedelta(hours=1))
    box.start()
    box.put(first)
    assert "accepted a newer version" in box.refusal()


def test_two_versions_of_one_second_are_not_exchanged(box: Box) -> None:
    """One of them is the older, and nobody knows which."""
    box.signed("a.example", MORNING)
    box.start()
    box.signed("b.example", MORNING)
    assert "in the same second as another version that this machine has accepted" in box.refusal()


def test_a_version_that_is_checked_and_not_applied_is_not_remembered(box: Box) -> None:
    """A reload that fails for another reason must not refuse the version that works."""
    works = box.signed("a.example", MORNING)
    box.start()
    box.signed("b.example", MORNING + timedelta(hours=1))
    load_factory(box.file, service=Service.GATEWAY)
    box.put(works)
    box.start()


def test_the_clock_of_the_machine_has_no_part_in_it(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """A box without a battery starts in 1970; its newest version is still the newest."""
    box.signed("a.example", MORNING)
    box.start()
    monkeypatch.setattr("time.time", lambda: 0.0)
    monkeypatch.setattr("time.time_ns", lambda: 0)
    box.start()
    box.signed("b.example", MORNING - timedelta(seconds=1))
    assert "accepted a newer version" in box.refusal()


def test_a_clock_that_was_set_back_where_it_is_signed_dates_after_the_signature_before(box: Box) -> None:
    """Else each machine would refuse the later signature of the same person."""
    box.signed("a.example", MORNING)
    box.start()
    box.file.write_text(FACTORY.format(broker="b.example"))
    box.sign_again(MORNING - timedelta(days=365))
    assert json.loads(signature_file(box.file).read_bytes())["time"] == "2026-12-01T06:00:01Z"
    assert "b.example" in box.start()


def test_the_time_of_a_signature_of_others_is_not_followed(box: Box) -> None:
    """A signature that is dated in the far future would lock machines: a forged time does not lead to one."""
    box.signed("a.example", MORNING)
    file = signature_file(box.file)
    forged = json.loads(file.read_bytes()) | {"time": "9998-01-01T00:00:00Z"}
    file.write_text(json.dumps(forged))
    box.sign_again(MORNING + timedelta(seconds=5))
    assert json.loads(file.read_bytes())["time"] == "2026-12-01T06:00:05Z"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"[]", b'{"format": 2}', b"x" * 20_000, b'{"format":1,"time":"soon"}', None]
)
def test_a_damaged_memory_is_logged_and_written_again(box: Box, content: bytes | None) -> None:
    """A damaged file must not stop a plant: the policy has `signed_since` for versions that must never come back."""
    box.signed("a.example", MORNING)
    box.start()
    if content is None:
        box.memory.unlink()
        box.memory.symlink_to(box.file)
    else:
        box.memory.write_bytes(content)
    with capture_logs() as logs:
        box.start()
    assert [one["event"] for one in logs] == ["signature.memory_damaged"]
    assert logs[0]["file"] == str(box.memory)
    assert not box.memory.is_symlink()
    assert stat.S_IMODE(box.memory.stat().st_mode) == 0o600
    box.signed("b.example", MORNING - timedelta(days=1))
    assert "accepted a newer version" in box.refusal()


def test_a_memory_that_can_not_be_written_stops_nothing(box: Box) -> None:
    """A full disk, here a file in the place of the folder."""
    box.signed("a.example", MORNING)
    box.memory.parent.write_text("")
    with capture_logs() as logs:
        box.start()
    assert "signature.not_remembered" in [one["event"] for one in logs]


def test_what_the_policy_dates_is_refused_without_a_memory(box: Box) -> None:
    """A new box, and a box whose memory was removed, has only root's word."""
    old = box.signed("old.example", MORNING)
    box.require("signed_since: 2026-12-01T06:00:01Z\n")
    assert "was signed at 2026-12-01T06:00:00Z, before signed_since of " in box.refusal()
    box.require("signed_since: 2026-12-01T06:00:00Z\n")
    box.put(old)
    box.start()
    box.require("signed_since: yesterday\n")
    assert "signed_since" in box.refusal()


def test_a_policy_may_accept_older_versions(box: Box) -> None:
    """And forgets nothing: the newest counts again when it refuses them."""
    old = box.signed("old.example", MORNING)
    box.signed("new.example", MORNING + timedelta(days=1))
    box.start()
    box.put(old)
    box.require("older_signatures: accept\n")
    assert "old.example" in box.start()
    box.require()
    assert "accepted a newer version, signed at 2026-12-02T06:00:00Z" in box.refusal()


@pytest.mark.slow
def test_no_key_of_a_configuration_moves_the_memory(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old version may have another id or folder; the state folder of systemd, or the policy, has the memory."""
    box.file.write_text(FACTORY.format(broker="old.example").replace("edge-01", "edge-02").replace("state", "other"))
    old = box.sign_again(MORNING)
    for variable, policy, folder in (
        (f"{tmp_path}/systemd:{tmp_path}/x", "", "systemd"),
        ("", f"signature_folder: {tmp_path}/named\n", "named"),
    ):
        monkeypatch.setenv(STATE_VARIABLE, variable)
        box.require(policy)
        box.signed("new.example", MORNING + timedelta(days=1))
        box.start()
        assert memory_file(tmp_path / folder, box.file).exists()
        box.put(old)
        for service in Service:
            assert "accepted a newer version" in box.refusal(service)


def test_services_of_one_machine_have_a_memory_each_without_a_common_folder(box: Box) -> None:
    """An ingest need not be able to write the folder of the gateway."""
    box.signed("a.example", MORNING)
    box.start(Service.INGEST)
    assert memory_file(box.file.parent / "ingest", box.file).exists()
    assert not box.memory.exists()
    box.start()
    factory = load_factory(box.file)
    removed = plan(factory).files["spool and state"]
    assert {box.memory, memory_file(box.file.parent / "ingest", box.file)} <= set(removed)


def test_two_configurations_of_one_machine_do_not_age_each_other(box: Box, tmp_path: Path) -> None:
    """Each has its own newest version; another way to write its path changes nothing."""
    box.signed("a.example", MORNING)
    box.start()
    other = memory_file(tmp_path / "state", tmp_path / "other.yaml")
    assert other != box.memory
    assert memory_file(tmp_path / "state", tmp_path / "etc" / ".." / "factory.yaml") == box.memory


def test_the_command_says_when_the_clock_is_behind(box: Box, tmp_path: Path) -> None:
    """The person should set it."""
    box.signed("a.example", datetime.now(UTC) + timedelta(days=2))
    box._monkeypatch.undo()  # noqa: SLF001 - the clock of this computer again
    key = tmp_path / "anna.pem"
    key.write_bytes(box.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    key.chmod(0o600)
    ran = lineside("sign", str(box.file), "--key", str(key), "--format", "json")
    assert ran.exit_code == 0, ran.output
    assert "the clock of this computer is behind the signature before" in ran.stderr
    assert json.loads(ran.stdout)["time"] == json.loads(signature_file(box.file).read_bytes())["time"]
