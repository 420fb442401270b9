"""Every command and every program that docs/data.md shows runs with the readings of a small plant."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from press_plant import NOW, PRESS, SECOND, fill, scan, write_plant

from gateway.cli import arguments, main

if TYPE_CHECKING:
    from click.testing import Result

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "data.md"

DAY = 86_400 * SECOND
SHIFT = 1_795_478_400_000_000
"""2026-11-24T00:00Z, a day that the document shows."""


def blocks(language: str) -> list[str]:
    text = DOCUMENT.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(name: str) -> list[str]:
    lines = "".join(blocks("sh")).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.split()[1] == name]


def run(command: str) -> Result:
    result = CliRunner().invoke(main, shlex.split(command, comments=True)[1:])
    assert result.exit_code == 0, f"{command}: {result.output}"
    return result


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a plant with readings of the days that the document shows, and of today, a second after NOW."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(arguments, "time", SimpleNamespace(time_ns=lambda: (NOW + SECOND) * 1000))
    config = write_plant(tmp_path)
    for begin in (NOW - 300 * SECOND, NOW - DAY, *(SHIFT + day * DAY for day in range(2))):
        for machine in ("press-01", "press-02"):
            path = PRESS._replace(machine=machine)
            batch = [scan(begin + n * SECOND, path, pressure=float(n), temperature=n / 2) for n in range(300)]
            batch[7].scan.uncertain["pressure"] = "stale"
            fill(config, *batch)
    return tmp_path


def test_the_queries_shown_have_results(plant: Path) -> None:
    shown = commands("query")
    assert len(shown) == 5
    for command in shown:
        # the shift is in local time: the readings of this test are where UTC has it
        result = run(
            command.replace("2026-11-24T06:00", "2026-11-24T00:00Z").replace("2026-11-24T14:00", "2026-11-24T14:00Z")
        )
        assert len(result.stdout.splitlines()) > 1 or (plant / "shift.csv").read_text().count("\n") > 1


def test_the_output_shown_is_that_of_a_query(plant: Path) -> None:
    [shown, _] = blocks("text")
    fill(plant / "factory.yaml", scan(SHIFT + 6 * 3600 * SECOND + 123_456, pressure=16.02))
    result = run("lineside query factory.yaml pressure --from 2026-11-24T05:00Z --to 2026-11-24T08:00Z")
    assert result.stdout.split() == shown.split()


@pytest.mark.slow
def test_the_exports_shown_have_the_files_shown(plant: Path) -> None:
    shown = commands("export")
    assert len(shown) == 2
    for command in shown:
        run(command)
    [_, path] = blocks("text")
    run("lineside export factory.yaml --out readings --from 2026-11-24 --to 2026-11-26")
    assert (plant / path.strip()).is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    "number",
    [
        pytest.param(0, id="pandas"),
        pytest.param(1, id="polars"),
        # matplotlib runs fc-list where it has no cache of the fonts yet
        pytest.param(2, id="plot", marks=pytest.mark.services),
    ],
)
def test_the_programs_shown_run(plant: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data engineers paste them."""
    program = blocks("python")[number]
    monkeypatch.setenv("MPLBACKEND", "agg")
    run("lineside export factory.yaml --out readings --from 2026-11-24 --to 2026-11-26")
    names: dict[str, Any] = {}
    exec(compile(program, DOCUMENT.name, "exec"), names)  # noqa: S102 - the document's own program
    if number == 2:
        assert (plant / "pressure.png").stat().st_size > 5_000
    else:
        assert len(names["minutes"]) > 1


@pytest.mark.slow
def test_the_statements_shown_run_in_duckdb(plant: Path) -> None:
    import duckdb

    run("lineside export factory.yaml --out readings --from 2026-11-24 --to 2026-11-26")
    assert (plant / "readings").is_dir()
    [block] = blocks("sql")
    statements = [one for one in block.split(";") if one.strip()]
    assert len(statements) == 2
    for statement in statements:
        assert duckdb.sql(statement).fetchall()
