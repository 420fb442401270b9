"""The gateways of machines that ingest has learned, over restarts and damage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import structlog

from gateway.ingest import learned_owners
from gateway.ingest.learned_owners import LearnedOwners
from gateway.model.path import MachinePath

if TYPE_CHECKING:
    from pathlib import Path

PRESS = MachinePath("acme", "north", "curing", "curing-1", "press-01")


def saved(owners: LearnedOwners) -> bool:
    """Save as ingest does; return whether there was a change."""
    pieces = owners.snapshot()
    if pieces is not None:
        try:
            owners.save(pieces)
        except OSError as error:
            owners.note_saved(error)
        else:
            owners.note_saved(None)
    return pieces is not None


def test_they_are_known_after_a_restart(tmp_path: Path) -> None:
    """Else ingest would take the first to publish after it for the owner."""
    file = tmp_path / "folder" / "ingest.owners.json"
    owners = LearnedOwners(file)
    owners.load()
    owners.learn(PRESS, "edge-01")
    owners.learn(PRESS._replace(machine="press-02"), "edge-02")
    assert saved(owners)
    again = LearnedOwners(file)
    again.load()
    assert [again.of(path) for path in (PRESS, PRESS._replace(machine="press-02"))] == ["edge-01", "edge-02"]
    assert again.of(PRESS._replace(machine="press-03")) is None
    assert not saved(again)


def test_a_file_that_can_not_be_written_is_logged_once_and_written_later(tmp_path: Path) -> None:
    """A read-only disk must not end ingest, nor fill its log."""
    (tmp_path / "folder").write_text("a file where a folder belongs", encoding="utf-8")
    owners = LearnedOwners(tmp_path / "folder" / "ingest.owners.json")
    with structlog.testing.capture_logs() as logs:
        owners.load()
        for gateway in ("edge-01", "edge-02", "edge-03"):
            owners.learn(PRESS, gateway)
            assert saved(owners)
        (tmp_path / "folder").unlink()
        assert saved(owners)
    assert [log["event"] for log in logs] == ["owners.unreadable", "owners.not_saved", "owners.saved"]
    assert not saved(owners)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b'{"gateways":5}', b'{"gateways":{"edge-01":"press"}}', b"[" * 100_000,
        b'{"gateways":{"edge-01":[5]}}', b'{"gateways":{"edge-01":["a/b/c/d/' + b"e" * 5_000 + b'"]}}', b"\xff",
    ],
)  # fmt: skip
def test_a_damaged_file_is_set_aside_and_said_once(tmp_path: Path, content: bytes) -> None:
    """A person can look at it, and the next start does not find it again."""
    file = tmp_path / "ingest.owners.json"
    file.write_bytes(content)
    with structlog.testing.capture_logs() as logs:
        LearnedOwners(file).load()
        owners = LearnedOwners(file)
        owners.load()
    assert [log["event"] for log in logs] == ["owners.unreadable"]
    assert (tmp_path / "ingest.owners.json.damaged").read_bytes() == content
    assert len(owners) == 0
    owners.learn(PRESS, "edge-01")
    assert saved(owners)


def test_the_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that invents machines fills neither memory nor disk; known machines stay known."""
    monkeypatch.setattr(learned_owners, "MAX_MACHINES", 3)
    owners = LearnedOwners(tmp_path / "ingest.owners.json")
    owners.learn(PRESS, "edge-01")
    for number in range(100):
        owners.learn(PRESS._replace(machine=f"m{number}"), "edge-02")
    owners.learn(PRESS, "edge-02")
    assert len(owners) == 3
    assert owners.of(PRESS) == "edge-02"
    assert saved(owners)
    monkeypatch.setattr(learned_owners, "MAX_FILE_BYTES", 10)
    again = LearnedOwners(tmp_path / "ingest.owners.json")
    again.load()
    assert len(again) == 0
