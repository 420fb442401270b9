"""The spool is bounded in bytes on the disk, whatever is put into it, and gives them back."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from gateway.settings.sections import SMALLEST_SPOOL, WhenFull
from gateway.spool import database
from gateway.spool.batch import Batch, CommitResult
from gateway.spool.database import SpoolDatabase
from gateway.spool.files import Spooled, SpoolFiles
from gateway.spool.limits import Limits, Reserve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Filler:
    """A spool that is filled with records of one size, or of all sizes."""

    def __init__(self, folder: Path, max_size: int, when_full: WhenFull = WhenFull.DROP_OLDEST) -> None:
        self.files = SpoolFiles(folder, "edge")
        self.file = SpoolDatabase(self.files, max_size, when_full)
        self.file.open()
        self.limits = Limits(max_size)
        self.seq = 0
        self.overflow = 0

    def put(self, sizes: list[int]) -> None:
        """Put records in commits no larger than the spool itself would make them."""
        while sizes:
            records: list[Spooled] = []
            while sizes and (
                not records or sum(len(one.payload) for one in records) + sizes[0] <= self.limits.commit
            ):
                self.seq += 1
                records.append(Spooled(self.seq, "line/m-1", bytes(sizes.pop(0)), 1))
            self.overflow += self.write(records).overflow

    def write(self, records: list[Spooled], confirms: list[tuple[int, int]] | None = None) -> CommitResult:
        return self.file.write(Batch(records, confirms or [], {}, [], Counter(acquired=self.seq), self.seq + 1))

    def on_disk(self) -> int:
        return sum(file.stat().st_size for file in (self.files.db, self.files.wal, self.files.reserve))


@pytest.fixture
def fillers() -> Iterator[list[Filler]]:
    made: list[Filler] = []
    yield made
    for filler in made:
        filler.file.close()


ANY_SIZE = -1


@pytest.mark.slow
@pytest.mark.parametrize("size", [0, 100, 700, 1400, 2100, 3960, 4100, 9000, 64_000, ANY_SIZE])
@pytest.mark.parametrize("when_full", list(WhenFull))
def test_the_files_stay_within_their_bound(
    tmp_path: Path, fillers: list[Filler], when_full: WhenFull, size: int
) -> None:
    """The disk of a box has other users: the configured size is kept, and the additional space is bounded."""
    max_size = 2**19
    fillers.append(filler := Filler(tmp_path, max_size, when_full))
    chance = random.Random(size)  # noqa: S311 - to be repeated
    for _ in range(14):
        sizes = [chance.randrange(9000) if size == ANY_SIZE else size for _ in range(100_000 // max(size, 100))]
        filler.put(sizes)
        assert filler.files.db.stat().st_size <= max_size
        assert filler.on_disk() <= max_size + filler.limits.slack
    file = filler.file
    assert file.state.records + filler.overflow == filler.seq
    assert filler.overflow > 0
    assert file.state.size > max_size / 3 or size < 1000, "the room is also used"
    first = 1 if when_full is WhenFull.REFUSE_NEWEST else filler.seq - file.state.records + 1
    if size != ANY_SIZE:  # a smaller record may still fit where a larger record did not
        assert next(iter(file.pending))[0] == first


@pytest.mark.parametrize("when_full", list(WhenFull))
def test_a_record_that_is_larger_than_the_spool_is_counted(
    tmp_path: Path, fillers: list[Filler], when_full: WhenFull
) -> None:
    """It can't be kept, and must not displace other records in vain, nor be tried without limit."""
    fillers.append(filler := Filler(tmp_path, SMALLEST_SPOOL, when_full))
    filler.put([1000])
    for sizes in ([SMALLEST_SPOOL], [1000, SMALLEST_SPOOL, 1000]):
        records = [Spooled(filler.seq + at, "line/m-1", bytes(size), 1) for at, size in enumerate(sizes, 1)]
        filler.seq += len(records)
        assert filler.write(records).overflow == 1
    assert list(filler.file.pending) == [(1, 1), (3, 3), (5, 5)]


def test_a_drained_spool_gives_its_room_back(
    tmp_path: Path, fillers: list[Filler], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage of a day must not occupy the disk for years."""
    monkeypatch.setattr(database, "SHRINK_FROM", 2**19)
    fillers.append(filler := Filler(tmp_path, 2**21))
    filler.put([3000] * 300)
    assert filler.files.db.stat().st_size + filler.files.wal.stat().st_size > 2**19
    filler.write([], [(1, filler.seq)])
    assert filler.files.db.stat().st_size + filler.files.wal.stat().st_size < 2**17
    filler.put([3000] * 10)
    assert len(filler.file.read([(1, filler.seq)], 100)[0]) == 10


def test_a_nearly_drained_spool_gives_its_room_back_in_time(
    tmp_path: Path, fillers: list[Filler], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A working gateway always has some unconfirmed records."""
    monkeypatch.setattr(database, "SHRINK_FROM", 2**19)
    monkeypatch.setattr(database, "SHRINK_EVERY", 7)
    fillers.append(filler := Filler(tmp_path, 2**21))
    filler.put([3000] * 300)
    filler.write([], [(1, filler.seq - 5)])
    for _ in range(7):
        filler.put([3000])
    assert filler.files.db.stat().st_size < 2**17
    assert len(filler.file.read([(1, filler.seq)], 100)[0]) == 12


def test_a_reserve_is_allocated_again_when_there_is_room(tmp_path: Path) -> None:
    """It is of use once in each outage, not once in a life."""
    reserve = Reserve(tmp_path / "reserve", 50_000)
    reserve.allocate()
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= 50_000, "it is room, and not only a size"
    reserve.release()
    assert not (tmp_path / "reserve").exists()
    assert reserve.restore()
    assert (tmp_path / "reserve").stat().st_size == 50_000
