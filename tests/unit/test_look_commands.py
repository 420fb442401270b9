"""`lineside query` shows what is stored, and creates nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from click.testing import CliRunner
from processes import write_factory

from drivers.base import Quality
from gateway.cli import main
from gateway.cli.look import show
from gateway.model.path import MachinePath
from gateway.model.reading import Reading

if TYPE_CHECKING:
    from pathlib import Path


def test_a_query_without_a_store_says_so_and_creates_nothing(tmp_path: Path) -> None:
    """After a query by root, ingest could not write to the file and folder that root had created."""
    machine = {"template": "curing-press", "connection": "modbus+tcp://127.0.0.1:1?unit=1"}
    config = write_factory(
        tmp_path / "factory.yaml",
        gateway={"id": "edge-01"},
        broker={"url": "mqtt://127.0.0.1:1"},
        stores=[{"sqlite": {"path": str(tmp_path / "folder" / "readings.db")}}],
        lines={"other": {"area": "other", "machines": {"other-01": machine}}},
    )
    before = sorted(tmp_path.rglob("*"))
    result = CliRunner().invoke(main, ["query", "--config", str(config)])
    assert result.exit_code == 1
    assert "there is no store yet; `lineside ingest` creates it" in result.output
    assert sorted(tmp_path.rglob("*")) == before


def test_a_text_can_not_steer_the_terminal() -> None:
    """Otherwise a client that may publish a text could write to the screen of the person who reads it."""
    text = "\x1b]0;owned\x07\x1b[2J\u202e"
    reading = Reading(MachinePath(*"abcde"), text, 1_764_000_000_000_000, text, text, Quality.BAD, text, text)
    shown = show(reading, "text")
    assert shown.isprintable()
    assert r"\x1b]0;owned\x07" in shown
    assert show(reading, "json").count("\x1b") == 0
