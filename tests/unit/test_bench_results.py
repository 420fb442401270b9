"""The results of benchmarks: medians, criteria, ratios, tables and the history."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest
from measure import alternate, results
from measure.experiments import Duration
from measure.plant import ModbusPlant
from measure.processes import Failed, TooSlow
from measure.results import Result, Wanted, as_json, comparison_table, median, number, ratio, results_table, slope
from measure.rows import ROWS, Row, chosen

if TYPE_CHECKING:
    from pathlib import Path


def result(**runs: list[float | None]) -> Result:
    return Result("row", "A row", "ms", Wanted(at_most=2), dict(runs), {"Telegraf": "absent"})


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], None), ([None], None), ([3.0, None, 1.0], 2.0), ([5.0, 1.0, 2.0], 2.0), ([7.0], 7.0)],
)
def test_the_median_leaves_out_runs_without_a_figure(values: list[float | None], expected: float | None):
    """A run that failed is not a run with the figure zero."""
    assert median(values) == expected


@pytest.mark.parametrize(
    ("samples", "expected"), [([], None), ([(1, 5)], None), ([(1, 5), (1, 6)], None), ([(0, 1), (1, 3), (2, 5)], 2.0)]
)
def test_a_slope_needs_two_places(samples: list[tuple[float, float]], expected: float | None):
    """A vertical line has no slope."""
    assert slope(samples) == expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [(4.0, 1.0, 0.25), (2.0, 3.0, 1.5), (None, 1.0, None), (1.0, None, None), (0.0, 1.0, None)],
)
def test_a_ratio_below_one_is_an_improvement_of_a_cost(
    before: float | None, after: float | None, expected: float | None
):
    """Where one side was not measured there is no ratio."""
    assert ratio(before, after) == expected


@pytest.mark.parametrize(
    ("wanted", "value", "telegraf", "met"),
    [
        (Wanted(at_most=1.5), 1.5, None, True),
        (Wanted(at_most=1.5), 1.6, None, False),
        (Wanted(at_least=10), 9, None, False),
        (Wanted(at_least=10), 10, None, True),
        (Wanted(at_most=1.5, of_telegraf=0.5), 1.4, 2.0, False),
        (Wanted(at_most=1.5, of_telegraf=0.5), 1.4, None, True),
        (Wanted(at_most=1.5), None, None, None),
        (Wanted(), 3.0, None, None),
    ],
)
def test_a_criterion_is_met_by_all_of_its_limits(
    wanted: Wanted, value: float | None, telegraf: float | None, *, met: bool | None
):
    """A figure that was not measured meets nothing, and breaks nothing."""
    assert wanted.met(value, telegraf) is met


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.0, "0.00"),
        (1.234, "1.23"),
        (12.34, "12.3"),
        (123.4, "123"),
        (207345, "207,345"),
        (-12.34, "-12.3"),
    ],
)
def test_figures_have_three_digits(value: float | None, text: str):
    """More digits would say more than was measured."""
    assert number(value) == text


def test_an_absent_peer_is_absent_and_not_zero():
    """A zero would be the best figure of the table."""
    lines = results_table([result(Lineside=[1.0, 3.0, 2.0])], ["Telegraf"]).splitlines()
    assert lines == [
        "| what  | unit | measured | wanted | verdict | Telegraf |",
        "|-------|------|---------:|-------:|--------:|---------:|",
        "| A row | ms   |     2.00 |    ≤ 2 |     met |   absent |",
    ]


def test_a_comparison_shows_both_revisions_and_their_ratio():
    """The ratio shows a loss."""
    last = comparison_table([result(abc=[2.0], present=[3.0])], "abc", "present").splitlines()[-1]
    assert [cell.strip() for cell in last.strip("|").split("|")] == ["A row", "ms", "2.00", "3.00", "1.50"]


def test_results_are_kept_by_date_and_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One file a measured commit, with every run, so that a later reader can judge the noise."""
    monkeypatch.setattr(results, "HISTORY", tmp_path / "history")
    written = as_json([result(Lineside=[1.0, None])], {"commit": "abc", "date": "2026-12-01T10:00:00+00:00"})
    file = results.record(written)
    assert file.name == "2026-12-01-abc.json"
    assert orjson.loads(file.read_bytes())["rows"]["row"] == {
        "what": "A row", "unit": "ms", "wanted": "≤ 2", "met": True, "figures": {"Lineside": 1.0},
        "runs": {"Lineside": [1.0, None]}, "notes": {"Telegraf": "absent"},
    }  # fmt: skip


def test_rows_are_chosen_by_name():
    """A wrong name is an error, and not a table without rows."""
    assert chosen([]) == list(ROWS)
    assert [row.name for row in chosen(["all-out", "modbus-20x100", "all-out"])] == ["all-out", "modbus-20x100"]
    with pytest.raises(ValueError, match="no row modbus; rows are modbus-100x100, "):
        chosen(["modbus"])
    assert len({row.name for row in ROWS}) == len(ROWS)


class Scripted:
    """An experiment with a script of figures, which notes who ran."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def run(self, product: Product, duration: Duration) -> dict[str, float | None]:
        self.ran.append(product.name)
        if product.name == "broken":
            raise Failed("no values")
        if product.name == "slow":
            raise TooSlow("10 of 20 values/s")
        return {"a": float(len(self.ran)), "b": duration.seconds}


class Product:
    def __init__(self, name: str, reason: str | None = None) -> None:
        self.name = name
        self._reason = reason

    def absent(self) -> str | None:
        return self._reason


def test_products_run_in_turn_and_rows_of_an_experiment_use_the_same_runs(capsys: pytest.CaptureFixture[str]):
    """Both see the same machine, and nothing is measured twice."""
    experiment = Scripted()
    rows = [Row(name, name, "ms", experiment, name) for name in ("a", "b")]
    products = [Product("own"), Product("broken"), Product("slow"), Product("missing", "not installed")]
    first, second = alternate.measure(rows, lambda _: products, 2, Duration(0.0, 5.0))
    assert experiment.ran == ["own", "broken", "slow"] * 2
    assert first.runs == {"own": [1.0, 4.0], "broken": [None, None], "slow": [None, None]}
    assert second.figure("own") == 5.0
    assert [first.cell(name) for name in ("own", "broken", "slow", "missing")] == [
        "2.50",
        "failed",
        "too slow",
        "absent",
    ]
    assert "missing is absent: not installed" in capsys.readouterr().err


def test_a_plant_has_its_registers_without_gaps():
    """Floats come first, and a machine of 100 points fits into one request of 125 registers."""
    registers = list(ModbusPlant(1, 100).registers())
    assert [register.raw for register in registers].count("float32") == 25
    sizes = {"float32": 2, "uint16": 1}
    assert [one.address + sizes[one.raw] for one in registers] == [one.address for one in registers[1:]] + [125]
