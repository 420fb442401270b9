"""A short `gateway.confirm_key` is refused wherever it counts, and no message shows it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from processes import write_factory
from structlog.testing import capture_logs

from drivers.secret import MissingSecret
from gateway.cli import main
from gateway.common.tasks import cancel_and_wait
from gateway.self_test.checks import check_keys
from gateway.settings.load import load_factory
from gateway.settings.problems import ConfigurationError
from gateway.settings.reload import Reload
from gateway.settings.shared_key import SHORTEST, TOO_SHORT
from gateway.settings.signature_memory import Service

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from gateway.settings.factory import Factory

VARIABLE = "LINESIDE_SECRET_CONFIRM_KEY"

SHORT, LONG = "kx" * (SHORTEST // 2 - 1) + "y", "z" * SHORTEST
"""A key of one byte less than it needs, and one that is long enough."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    machine = {"template": "curing-press", "connection": "modbus+tcp://127.0.0.1:1"}
    return write_factory(
        tmp_path / "factory.yaml",
        gateway={"id": "edge-01", "confirm_key": {"secret": "confirm_key"}, "spool": {"folder": str(tmp_path / "s")}},
        broker={"url": "mqtt://127.0.0.1:1"},
        stores=[{"sqlite": {"path": str(tmp_path / "readings.db")}}],
        lines={"line": {"area": "area", "machines": {"m-01": machine}}},
    )


@pytest.mark.parametrize("command", ["run", "ingest", "validate"])
def test_a_short_key_is_refused_at_the_start_and_never_shown(
    file: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """A key that can be guessed lets a client that reads records confirm them: nothing may run with it."""
    monkeypatch.setenv(VARIABLE, SHORT)
    ran = CliRunner().invoke(main, [command, str(file)])
    said = ran.stdout + ran.stderr
    assert ran.exit_code == 1
    assert f"{file}:" in said
    assert f"gateway.confirm_key: {TOO_SHORT}" in " ".join(said.split())
    assert "openssl rand -hex 32" in said
    assert SHORT not in said


@pytest.mark.parametrize("service", [Service.GATEWAY, Service.INGEST])
def test_bytes_count_and_not_characters(file: Path, monkeypatch: pytest.MonkeyPatch, service: Service) -> None:
    monkeypatch.setenv(VARIABLE, "é" * (SHORTEST // 2))
    assert len(load_factory(file, service=service).gateway.reveal_confirm_key()) == SHORTEST
    monkeypatch.setenv(VARIABLE, "é" * (SHORTEST // 2 - 1) + "e")
    with pytest.raises(ConfigurationError, match="fewer than 32 bytes"):
        load_factory(file, service=service)


def test_the_page_does_not_need_the_key(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It confirms nothing, and its user may not read the secret."""
    monkeypatch.setenv(VARIABLE, SHORT)
    assert load_factory(file, service=Service.DASHBOARD).gateway.confirm_key is not None


def test_a_key_that_is_missing_is_said_by_the_service_as_any_secret_is(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    factory = load_factory(file, service=Service.GATEWAY)
    with pytest.raises(MissingSecret, match="confirm_key"):
        factory.gateway.reveal_confirm_key()


def test_the_self_test_finds_a_short_key(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret can be replaced while a gateway runs; its next start would be refused."""
    monkeypatch.setenv(VARIABLE, LONG)
    assert list(check_keys(load_factory(file))) == []
    monkeypatch.setenv(VARIABLE, SHORT)
    ran = CliRunner().invoke(main, ["self-test", str(file), "--format", "json"])
    (found,) = [one for one in json.loads(ran.stdout)["outcomes"] if one["check"] == "keys"]
    assert (found["result"], TOO_SHORT in found["problems"][0]) == ("failed", True)
    assert SHORT not in ran.stdout + ran.stderr


async def test_a_reload_with_a_short_key_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway goes on with the key that it has, and the log and the audit log say why."""
    monkeypatch.setenv(VARIABLE, LONG)
    factory = load_factory(file, service=Service.GATEWAY)
    factory.gateway.spool.folder.mkdir()
    loop, recorded = asyncio.get_running_loop(), asyncio.Event()
    kept: list[dict[str, Any]] = []

    def record(action: str, **fields: Any) -> None:
        kept.append({"action": action} | fields)
        loop.call_soon_threadsafe(recorded.set)

    async def change_over(wanted: Factory) -> Mapping[str, Sequence[str]]:
        raise AssertionError(wanted.digest)

    subject = Reload(factory, change_over, record=record)
    monkeypatch.setenv(VARIABLE, SHORT)
    with capture_logs() as said:
        running = asyncio.create_task(subject.run())
        subject.ask("anna")
        await asyncio.wait_for(recorded.wait(), 20)
        await cancel_and_wait(running)
    (entry,) = kept
    assert (entry["action"], entry["who"], entry["outcome"]) == ("configuration-refused", "anna", "failed")
    assert TOO_SHORT in entry["after"][0]
    assert "configuration.refused" in [one["event"] for one in said]
    assert SHORT not in f"{kept}{said}"
