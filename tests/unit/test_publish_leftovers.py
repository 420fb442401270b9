"""What is left at the broker of machines that are gone: cleared where it is ours, and only when nothing needs it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from gateway.leftovers import Leftovers

if TYPE_CHECKING:
    from pathlib import Path

HERE, GONE = "root/line/here/state", "root/line/gone/state"


def state(gateway: str | None, **more: str) -> bytes:
    return json.dumps({"state": "online"} | ({"gateway": gateway} if gateway else {}) | more).encode()


def after_removal(file: Path, *, empty: bool) -> Leftovers:
    """Return what a gateway has that told of two machines before, and now has one."""
    Leftovers(file, "edge", [HERE, GONE]).begin(empty=True)
    now = Leftovers(file, "edge", [HERE])
    now.begin(empty=empty)
    return now


def test_a_machine_that_is_gone_is_cleared_with_its_description(tmp_path: Path):
    """It would be online for ever."""
    leftovers = after_removal(tmp_path / "told.json", empty=True)
    assert leftovers.topics == [GONE]
    messages = leftovers.heard(GONE, state("edge"))
    assert messages == [("root/line/gone/meta", b""), (GONE, b"")]
    assert leftovers.heard(GONE, b"") == []  # what was published comes back
    assert leftovers.topics == []
    again = Leftovers(tmp_path / "told.json", "edge", [HERE])
    again.begin(empty=True)
    assert again.topics == []


def test_while_records_wait_it_is_only_said_to_be_gone(tmp_path: Path):
    """One of them may be of that machine, and its description is needed to store it."""
    leftovers = after_removal(tmp_path / "told.json", empty=False)
    [(topic, payload)] = leftovers.heard(GONE, state("edge"))
    told = json.loads(payload)
    assert (topic, told["state"], told["reason"], told["gateway"]) == (GONE, "offline", "removed", "edge")
    assert leftovers.heard(GONE, payload) == []  # what was published comes back
    later = Leftovers(tmp_path / "told.json", "edge", [HERE])
    later.begin(empty=True)
    assert later.heard(GONE, payload) == [("root/line/gone/meta", b""), (GONE, b"")]


@pytest.mark.parametrize("payload", [state("other"), state(None), b"", b"{", b"[1]"])
def test_what_another_gateway_tells_is_left_alone(tmp_path: Path, payload: bytes):
    """A machine that moved to another box must not vanish from every screen."""
    leftovers = after_removal(tmp_path / "told.json", empty=True)
    assert leftovers.heard(GONE, payload) == []
    assert leftovers.topics == []


def test_a_machine_that_is_still_there_is_never_cleared(tmp_path: Path):
    """Also where somebody else's words stand on its topic."""
    leftovers = after_removal(tmp_path / "told.json", empty=True)
    assert leftovers.heard(HERE, state("edge")) == []


@pytest.mark.parametrize("content", [b"", b"[]", b'{"states": 1}', b"\xff"])
def test_a_file_that_is_damaged_stops_nothing(tmp_path: Path, content: bytes):
    """It is about old names on a screen, and readings matter more."""
    file = tmp_path / "told.json"
    file.write_bytes(content)
    leftovers = Leftovers(file, "edge", [HERE])
    leftovers.begin(empty=True)
    assert leftovers.topics == []
    assert json.loads(file.read_bytes()) == {"states": [HERE]}
