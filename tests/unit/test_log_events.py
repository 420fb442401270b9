"""docs/logs.md has every event that the code logs, with its level, and no other event."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.pipeline.machine_status import State

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def log_events() -> ModuleType:
    spec = spec_from_file_location("log_events", ROOT / "tools" / "log_events.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["log_events"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_page_on_logs_and_code_have_the_same_events_and_levels(log_events: ModuleType):
    """A person who sees an event at night looks up its meaning and the action."""
    assert log_events.differences() == []
    assert len(log_events.events_in_page()) > 90


def test_states_of_a_machine_are_events(log_events: ModuleType):
    """The name of this event is put together in the code."""
    assert {state.value for state in State} - {"starting"} == set(log_events.STATES)


CODE = """
log.info("a.started")
state.enter("a.failed", level="error")
state.enter("a.running", healthy=True)
TABLE = {1: "a.listed"}
"""

PAGE = """
| `a.started` | warning | when | nothing |
| `a.failed` | error | when | nothing |
| `a.failed` | error | when | nothing |
| `a.running` | info | when | nothing |
| `a.gone` | info | when | nothing |
"""


def test_differences_are_found(log_events: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A comparison that can't fail compares nothing."""
    for package in ("gateway", "docs"):
        (tmp_path / package).mkdir()
    (tmp_path / "gateway" / "a.py").write_text(CODE, encoding="utf-8")
    (tmp_path / "docs" / "logs.md").write_text(PAGE, encoding="utf-8")
    monkeypatch.setattr(log_events, "ROOT", tmp_path)
    monkeypatch.setattr(log_events, "PAGE", tmp_path / "docs" / "logs.md")
    monkeypatch.setattr(log_events, "STATES", ())
    assert log_events.differences() == [
        "docs/logs.md: add a row for a.listed (gateway/a.py:5)",
        "docs/logs.md: remove a.gone: no code logs it",
        "docs/logs.md: a.started is logged with the level info",
        "docs/logs.md: a.failed has two rows",
    ]
