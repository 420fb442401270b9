"""`lineside trace` shows the way of a part, and the parts that a lot went into."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result
from press_plant import NOW, PRESS, SECOND, write_plant

from gateway.cli import main
from gateway.model.metadata import MachineMeta
from gateway.model.reading import NamedScan
from gateway.settings.load import load_factory
from gateway.stores.base import MachineScan

if TYPE_CHECKING:
    from pathlib import Path

RECORDS: list[dict[str, Any]] = [
    {"serial": "H-1", "operation": "a\x1b[2J", "lot": "ML9"},
    {"serial": "B-1", "operation": "mixing", "lot": "ML1", "began": NOW, "ended": NOW + SECOND},
    {"serial": "T-1", "operation": "curing", "place": "left", "began": NOW + SECOND, "ended": NOW + 2 * SECOND,
     "result": "undercured", "recipe": "R1", "materials": [{"name": "compound", "lot": "ML1"}],
     "values": [{"name": "pressure", "value": 16.5, "unit": "bar"}, {"name": "state", "value": 1.0, "text": "ok"},
                {"name": "mould", "quality": "bad", "reason": "no_response", "code": "x"},
                {"name": "late", "value": 2.0, "quality": "uncertain", "reason": "stale"}]},
    {"serial": "T-1", "operation": "curing", "ended": NOW + 4 * SECOND, "result": "good", "missing": "begin"},
]  # fmt: skip


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = write_plant(tmp_path)
    meta = MachineMeta("press", {"part": "json"}, {}, {"part": "part"})
    entry = load_factory(file).stores[0]
    with entry.kind.make(entry.settings) as store:
        for at, record in enumerate(RECORDS):
            scan = NamedScan(NOW + at, {"part": json.dumps({"place": ""} | record)})
            store.write([MachineScan(PRESS, meta, scan, 0)])
    return file


def trace(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["trace", *arguments])


def test_the_way_of_a_part_is_printed_with_values_and_reasons(config: Path) -> None:
    """For a person who has a tyre in their hands."""
    ran = trace("T-1", "-c", str(config))
    assert ran.exit_code == 0, ran.output
    place = f"{PRESS.line}/{PRESS.machine}"
    lines = ran.stdout.splitlines()
    assert lines[:2] == ["T-1", f"  curing at {place} (left): undercured"]
    text = " ".join(ran.stdout.split())
    for wanted in (
        "recipe R1", "pressure 16.5 bar", "state ok", "mould bad: no_response (x)", "late 2 (uncertain: stale)",
        "material compound ML1", f"curing, run 2 at {place}: good", "? to ", "(missing: begin)",
    ):  # fmt: skip
        assert wanted in text


def test_programs_get_the_same_as_json(config: Path) -> None:
    """Times are as in other commands."""
    found = json.loads(trace(str(config), "T-1", "--format", "json").stdout)
    first, second = found["operations"]
    assert (first["run"], second["run"], second["missing"], second["began"]) == (1, 2, "begin", None)
    assert first["machine"] == str(PRESS)
    assert first["ended"].endswith("Z")
    assert [one["name"] for one in first["values"]] == ["late", "mould", "pressure", "state"]
    assert first["values"][2] == {"name": "pressure", "value": 16.5, "unit": "bar"}
    assert first["materials"] == [{"name": "compound", "lot": "ML1"}]


def test_a_lot_names_the_parts_that_it_went_into(config: Path) -> None:
    """Also by the serial number of a batch of this lot."""
    ran = trace(str(config), "--where-used", "ML1")
    assert (ran.exit_code, ran.stdout.splitlines()[-1]) == (0, "ML1 went into 1 part")
    assert ran.stdout.startswith("  T-1  compound ML1, curing at ")
    found = json.loads(trace(str(config), "--where-used", "B-1", "--format", "json").stdout)
    assert [(one["serial"], one["level"]) for one in found["uses"]] == [("T-1", 1)]


def test_an_unknown_part_is_said_and_wrong_arguments_too(config: Path) -> None:
    """The exit code says that nothing was found."""
    for arguments in (["T-9"], ["--where-used", "T-9"]):
        ran = trace(str(config), *arguments)
        assert (ran.exit_code, "nothing is known of T-9" in ran.stderr) == (1, True)
    for arguments in ([], ["T-1", "T-2"], ["T-1", "--where-used", "ML1"]):
        assert trace(str(config), *arguments).exit_code == 2


def test_a_hostile_text_does_not_reach_the_terminal(config: Path) -> None:
    """A label can contain anything."""
    assert "\x1b" not in trace("H-1", "-c", str(config)).stdout
