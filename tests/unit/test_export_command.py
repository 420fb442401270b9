"""`lineside export` writes Parquet files that are whole, and writes none twice."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result
from press_plant import PRESS, SECOND, fill, scan, write_plant

from gateway.cli import main
from gateway.export import folder
from gateway.stores.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.model.reading import Reading

BEGIN = 1_764_028_800_000_000
"""2025-11-25 in UTC."""


WORD = "dictionary<values=string, indices=int32, ordered=0>"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_plant(tmp_path)


def parquet_file(config: Path) -> Any:
    """Return the file of press-01 on the first day. pyarrow is imported here: it imports pandas."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(config.parent / "out" / name("press-01", "2025-11-25"))


def whole_table(config: Path) -> Any:
    """Return all files as one table."""
    import pyarrow.dataset as ds

    return ds.dataset(config.parent / "out", partitioning="hive").to_table()


def export(config: Path, *arguments: str, since: str = "2025-11-25", until: str = "2025-11-27") -> Result:
    out = config.parent / "out"
    options = ["--out", str(out), "--from", f"{since}T00:00Z", "--to", f"{until}T00:00Z"]
    return CliRunner().invoke(main, ["export", str(config), *arguments, *options])


def files(config: Path) -> list[str]:
    out = config.parent / "out"
    return sorted(str(file.relative_to(out)) for file in out.rglob("*") if file.is_file())


def name(machine: str, day: str) -> str:
    place = "enterprise=doublestar/site=huangdao/area=curing/line=curing-1"
    return f"{place}/machine={machine}/day={day}/readings.parquet"


def two_days(config: Path) -> None:
    press_2 = PRESS._replace(machine="press-02")
    batch = [scan(BEGIN + n * 3600 * SECOND, pressure=float(n), temperature=n / 8) for n in range(48)]
    batch += [scan(BEGIN + n * 3600 * SECOND, press_2, pressure=-float(n)) for n in range(24)]
    batch[1].scan.bad["note"] = "refused"
    batch[1].scan.codes["note"] = "exception 2"
    batch[2].scan.values.update({"recipe": "R-1", "count": 2**62 + 1, "on": True})
    batch[3].scan.late = True
    batch[4].scan.uncertain["pressure"] = "stale"
    fill(config, *batch)


@pytest.mark.slow
def test_a_file_for_each_machine_and_day(config: Path) -> None:
    two_days(config)
    result = export(config)
    assert result.exit_code == 0, result.output
    assert "3 files, 124 readings" in result.stdout
    assert files(config) == [
        name("press-01", "2025-11-25"), name("press-01", "2025-11-26"), name("press-02", "2025-11-25"),
    ]  # fmt: skip
    assert "readings" not in result.stderr  # the progress is for a terminal


def test_a_row_is_a_reading_with_its_unit_and_quality(config: Path) -> None:
    two_days(config)
    export(config)
    table = parquet_file(config).read()
    assert [(one.name, str(one.type)) for one in table.schema] == [
        ("time", "timestamp[us, tz=UTC]"),
        ("point", WORD),
        ("value", "double"), ("integer", "int64"), ("text", "string"),
        *((one, WORD) for one in ("unit", "quality", "reason", "code")), ("late", "bool"),
    ]  # fmt: skip
    rows = {(row["time"].hour, row["point"]): row for row in table.to_pylist()}
    assert {key: rows[1, "note"][key] for key in ("value", "text", "quality", "reason", "code")} == {
        "value": None, "text": None, "quality": "bad", "reason": "refused", "code": "exception 2",
    }  # fmt: skip
    assert (rows[2, "recipe"]["text"], rows[2, "count"]["integer"], rows[2, "on"]["value"]) == ("R-1", 2**62 + 1, 1.0)
    assert rows[3, "pressure"]["late"]
    assert (rows[4, "pressure"]["value"], rows[4, "pressure"]["unit"]) == (4.0, "bar")
    assert (rows[4, "pressure"]["quality"], rows[4, "pressure"]["reason"]) == ("uncertain", "stale")
    metadata = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert metadata["lineside_machine"] == str(PRESS)
    assert json.loads(metadata["lineside_points"])["pressure"] == {
        "unit": "bar", "type": "float", "description": "Bladder",
    }  # fmt: skip


def test_tools_read_the_folder_as_one_table(config: Path) -> None:
    """The names of the folders are columns."""
    two_days(config)
    export(config)
    table = whole_table(config)
    machines = set(zip(table["machine"].to_pylist(), map(str, table["day"].to_pylist()), strict=True))
    assert machines == {("press-01", "2025-11-25"), ("press-01", "2025-11-26"), ("press-02", "2025-11-25")}
    assert table.num_rows == 124


def test_a_complete_file_is_not_written_again(config: Path) -> None:
    """An export every night goes on where it ended."""
    two_days(config)
    export(config, until="2025-11-26")
    times = {file: (config.parent / "out" / file).stat().st_mtime_ns for file in files(config)}
    result = export(config)
    assert "1 file, 48 readings, 2 files complete before" in result.stdout
    assert {file: (config.parent / "out" / file).stat().st_mtime_ns for file in times} == times
    forced = export(config, "--force")
    assert "3 files, 124 readings" in forced.stdout
    assert all((config.parent / "out" / file).stat().st_mtime_ns > at for file, at in times.items())


def test_a_day_that_goes_on_is_written_again(config: Path) -> None:
    now = time.time_ns() // 1000
    fill(config, scan(now, pressure=1.0))
    for count in (1, 2):
        result = CliRunner().invoke(
            main, ["export", str(config), "--out", str(config.parent / "out"), "--last", "1h"]
        )
        assert f", {count} reading" in result.stdout
        fill(config, scan(now + count, pressure=2.0))


def test_an_error_leaves_no_half_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file under its name is whole; the next run goes on."""
    two_days(config)
    whole = SqliteStore.range

    def failing(*arguments: object, **options: object) -> Iterator[Reading]:
        for number, reading in enumerate(whole(*arguments, **options)):  # type: ignore[arg-type]
            if number == 60:
                raise OSError(28, "No space left on device")
            yield reading

    monkeypatch.setattr(SqliteStore, "range", failing)
    monkeypatch.setattr(folder, "REPORT_EVERY", 10)
    monkeypatch.setattr(folder, "MAX_ROWS", 10)
    result = export(config)
    assert result.exit_code == 1
    assert "No space left on device" in result.output
    assert files(config) == []
    monkeypatch.undo()
    assert "3 files, 124 readings" in export(config).stdout


def test_other_points_need_another_folder(config: Path) -> None:
    """A file with some points must not replace a file with all."""
    two_days(config)
    export(config)
    result = export(config, "pressure")
    assert result.exit_code == 1
    assert "has the points *; choose another folder, or write them again with --force" in result.output
    assert "3 files, 72 readings" in export(config, "pressure", "--force").stdout


def test_memory_is_bounded_by_many_row_groups(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "REPORT_EVERY", 5)
    monkeypatch.setattr(folder, "MAX_ROWS", 10)
    monkeypatch.setattr(folder, "MAX_FILES", 1)
    two_days(config)
    assert "3 files, 124 readings" in export(config).stdout
    file = parquet_file(config)
    assert file.metadata.num_row_groups > 3
    assert file.metadata.num_rows == 52


def test_odd_names_stay_in_the_folder(config: Path) -> None:
    """A machine of a foreign gateway may have any name."""
    odd = PRESS._replace(machine="../../a=b/ü 1")
    fill(config, scan(BEGIN, odd, pressure=1.0))
    assert export(config).exit_code == 0
    [file] = files(config)
    assert "machine=..%2F..%2Fa%3Db%2F%C3%BC 1/" in file
    table = whole_table(config)
    assert table["machine"].to_pylist() == ["../../a=b/ü 1"]


def test_an_unknown_point_and_an_empty_store(config: Path) -> None:
    result = export(config)
    assert result.exit_code == 1
    assert "there is no store yet" in result.output
    two_days(config)
    result = export(config, "presure")
    assert result.exit_code == 1
    assert "did you mean 'pressure'?" in result.output
    assert not (config.parent / "out").exists()
