"""A folder with the stored readings of each machine and day, as tools for Parquet expect it.

    OUT/enterprise=…/site=…/area=…/line=…/machine=press-01/day=2026-11-24/readings.parquet

A file has a whole day of UTC. It is complete if it was written an hour after the end of the day, for the same points;
then it is not written again, so an export that was interrupted, or that runs every night, goes on where it ended.
"""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import orjson

from gateway.export.parquet import MACHINE_SCHEMA, ParquetFile, metadata_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from gateway.model.path import MachinePath
    from gateway.model.reading import Reading
    from gateway.stores.base import Store
    from gateway.stores.series import Series

DAY = 86_400_000_000
"""Microseconds of a day."""

SETTLED = 3_600_000_000
"""Microseconds after the end of a day from which on its files are complete: readings of an outage come late."""

FILE = "readings.parquet"

FORMAT = "1"
"""The version of columns and metadata."""

MAX_FILES = 200
"""Files that are open at once."""

MAX_ROWS = 200_000
"""Readings in memory; then those of the machine with the most are written."""

REPORT_EVERY = 10_000
"""Readings between two reports of progress."""


class Progress(NamedTuple):
    """How far an export is: days that are done, of so many, and readings."""

    done: int
    days: int
    readings: int


@dataclass(slots=True)
class Exported:
    """The result of an export: numbers of files and readings, and of files that were complete before."""

    files: int = 0
    readings: int = 0
    kept: int = 0


class OtherPoints(Exception):
    """A folder has the export of another choice of points."""


class FolderExport:
    """Writes the readings of series, day after day. `descriptions` are those of points by `machine path/point`."""

    def __init__(
        self, store: Store, series: Sequence[Series], out: Path, *, chosen: Sequence[str],
        descriptions: Mapping[str, str], force: bool,
    ) -> None:  # fmt: skip
        """Prepare; no I/O. `chosen` are the patterns that chose the series; `force` writes complete files again."""
        self._store = store
        self._machines: dict[MachinePath, list[Series]] = defaultdict(list)
        for one in series:
            self._machines[one.id.path].append(one)
        self._out = out
        self._chosen = orjson.dumps(sorted(chosen)).decode()
        self._descriptions = descriptions
        self._force = force
        self._exported = Exported()

    def run(self, since: int, until: int, progress: Callable[[Progress], None]) -> Exported:
        """Export the days from that of `since` to that before `until`, in microseconds since the epoch.

        Raises `StoreError`, `OSError` and `OtherPoints`.
        """
        days = range(since // DAY * DAY, until, DAY)
        for done, day in enumerate(days):

            def report(done: int = done) -> None:
                progress(Progress(done, len(days), self._exported.readings))

            report()
            missing = [
                path for path in sorted(self._machines) if self._has(path, day) and not self._is_complete(path, day)
            ]  # fmt: skip
            for start in range(0, len(missing), MAX_FILES):
                self._export(missing[start : start + MAX_FILES], day, report)
        progress(Progress(len(days), len(days), self._exported.readings))
        return self._exported

    def file(self, path: MachinePath, day: int) -> Path:
        """Return the file of a machine and day; names are escaped as Hive does it."""
        folder = self._out
        for key, value in path._asdict().items():
            folder /= f"{key}={quote(value, safe=' ')}"
        return folder / f"day={day_text(day)}" / FILE

    def _has(self, path: MachinePath, day: int) -> bool:
        """Return False if the store knows that it has nothing of a machine on a day."""
        return any(
            (one.first is None or one.first < day + DAY) and (one.last is None or one.last >= day)
            for one in self._machines[path]
        )

    def _is_complete(self, path: MachinePath, day: int) -> bool:
        file = self.file(path, day)
        if self._force or not file.exists():
            return False
        metadata = metadata_of(file)
        if metadata.get("lineside_points_chosen", self._chosen) != self._chosen:
            raise OtherPoints(
                f"{file}: has the points {', '.join(orjson.loads(metadata['lineside_points_chosen']))}; "
                "choose another folder, or write them again with --force"
            )
        complete = metadata.get("lineside_complete") == "true" and metadata.get("lineside_format") == FORMAT
        self._exported.kept += complete
        return complete

    def _export(self, paths: Sequence[MachinePath], day: int, report: Callable[[], None]) -> None:
        """Export one day of some machines."""
        series = [one for path in paths for one in self._machines[path]]
        buffers: dict[MachinePath, list[Reading]] = defaultdict(list)
        files: dict[MachinePath, ParquetFile] = {}
        now = time.time_ns() // 1000
        with ExitStack() as stack:

            def flush(path: MachinePath) -> None:
                if path not in files:
                    file = self.file(path, day)
                    file.parent.mkdir(parents=True, exist_ok=True)
                    files[path] = stack.enter_context(
                        ParquetFile(file, MACHINE_SCHEMA, self._metadata(path, day, now))
                    )
                files[path].write(buffers.pop(path))

            for count, reading in enumerate(self._store.range(series, day, day + DAY), 1):
                buffers[reading.path].append(reading)
                if count % REPORT_EVERY == 0:
                    self._exported.readings += REPORT_EVERY
                    report()
                    if sum(map(len, buffers.values())) >= MAX_ROWS:
                        flush(max(buffers, key=lambda path: len(buffers[path])))
            for path in list(buffers):
                flush(path)
        self._exported.files += len(files)
        # reported in steps before
        self._exported.readings += sum(file.rows for file in files.values()) % REPORT_EVERY

    def _metadata(self, path: MachinePath, day: int, now: int) -> dict[str, str]:
        points = {
            one.id.point: {
                "unit": one.id.unit, "type": one.type, "description": self._descriptions.get(str(one), ""),
            }
            for one in self._machines[path]
        }  # fmt: skip
        return {
            "lineside_format": FORMAT,
            "lineside_machine": str(path),
            "lineside_day": day_text(day),
            "lineside_points": orjson.dumps(points).decode(),
            "lineside_points_chosen": self._chosen,
            "lineside_exported": datetime.fromtimestamp(now / 1e6, UTC).isoformat(timespec="seconds"),
            "lineside_complete": "true" if now >= day + DAY + SETTLED else "false",
        }


def day_text(day: int) -> str:
    """Return the date of a day, given by its start."""
    return (datetime.fromtimestamp(0, UTC) + timedelta(microseconds=day)).date().isoformat()
