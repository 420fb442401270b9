"""Commands that tests fork: those of a session outlive another process from which commands are forked meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import forked
from processes import Lineside, write_factory

if TYPE_CHECKING:
    import pytest


async def test_commands_go_on_while_others_are_forked_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Tests of stepped clocks would otherwise end the plant that other tests of their worker share."""
    press = {"template": "curing-press", "connection": "modbus+tcp://10.0.0.1:502"}
    lines = {"line": {"area": "area", "machines": {"press": press}}}
    config = write_factory(tmp_path / "factory.yaml", broker={"url": "mqtt://127.0.0.1"}, lines=lines)
    before = await Lineside.simulate(config, tmp_path / "moved.yaml")
    with forked.apart():
        monkeypatch.setenv("LINESIDE_OF_APART", "yes")
        other = await Lineside.simulate(config, tmp_path / "other.yaml")
        assert parent_of(other.pid) != parent_of(before.pid)
        assert b"LINESIDE_OF_APART=yes" in Path(f"/proc/{parent_of(other.pid)}/environ").read_bytes()
        assert before.running
    await other.ended()
    assert before.running
    again = await Lineside.simulate(config, tmp_path / "again.yaml")
    assert parent_of(again.pid) == parent_of(before.pid)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[1])
