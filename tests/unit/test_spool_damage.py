"""Damage to the spool's files: whatever happens to them, a start succeeds, and what was lost is known."""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING

import pytest

from gateway.model.ledger import Ledger
from gateway.settings.sections import WhenFull
from gateway.spool.batch import Batch
from gateway.spool.database import SpoolDatabase
from gateway.spool.files import Spooled, SpoolFiles

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator
    from pathlib import Path

SIZE = 2**21

SIZES = (0, 40, 300, 1500, 2500, 4000, 4061, 9000, 60_000)
"""Bytes of payloads: many in a page, one in a page, in several pages."""


class Line:
    """A spool's file, and the truth about what was put into it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.files = SpoolFiles(folder, "edge")
        self.random = random.Random(seed)  # noqa: S311 - to be repeated
        self.issued: dict[int, Spooled] = {}
        self.confirmed: set[int] = set()
        self.file = SpoolDatabase(self.files, SIZE, WhenFull.REFUSE_NEWEST)
        self.file.open()
        # so that more or less of what is there is still in the log
        self.file._db.execute(f"pragma wal_autocheckpoint = {self.random.choice([5, 50, 1000])}")
        self.ledger = Ledger()

    def waiting(self) -> dict[int, Spooled]:
        return {seq: record for seq, record in self.issued.items() if seq not in self.confirmed}

    def commit(self, puts: int = 0, confirms: list[int] | None = None) -> None:
        """Put some records, of random size, and confirm some."""
        records = []
        for _ in range(puts):
            seq = len(self.issued) + 1
            payload = self.random.randbytes(self.random.choice(SIZES))
            records.append(Spooled(seq, f"line/m-{seq % 3}", payload, self.random.randint(1, 50)))
            self.issued[seq] = records[-1]
            self.ledger.acquired += records[-1].readings
        spans = [(seq, seq) for seq in confirms or []]
        result = self.file.write(batch(self.ledger.counts(), len(self.issued) + 1, records, spans))
        self.confirmed |= set(confirms or [])
        self.ledger.confirmed += result.confirmed
        assert result.complete
        assert not result.overflow

    def work(self) -> None:
        """Do what a gateway does in a while."""
        for _ in range(self.random.randint(1, 25)):
            waiting = list(self.waiting())
            some = self.random.sample(waiting, self.random.randint(0, len(waiting) // 2)) if waiting else []
            self.commit(self.random.randint(0, 8), some)

    def killed(self, folder: Path) -> SpoolFiles:
        """Return the files as a kill at this moment would leave them."""
        folder.mkdir()
        for file in (self.files.db, self.files.wal, self.files.slots):
            if file.exists():
                shutil.copy(file, folder)
        return SpoolFiles(folder, "edge")


def batch(counts: Counter[str], following: int, puts: list[Spooled], confirms: list[tuple[int, int]]) -> Batch:
    return Batch(puts, confirms, {}, [], counts, following)


def everything(file: SpoolDatabase) -> dict[int, Spooled]:
    """Return all that the spool gives out, as a publisher would ask for it."""
    found: dict[int, Spooled] = {}
    pending = file.pending.copy()
    while ranges := pending.pop_ranges(7):
        records, rest = file.read(ranges, 7)
        for span in rest:
            pending.add(*span)
        for record in records:
            assert record.seq not in found, "given out twice"
            found[record.seq] = record
    return found


def flip(data: bytearray, chance: random.Random) -> None:
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def flip_many(data: bytearray, chance: random.Random) -> None:
    for _ in range(20):
        flip(data, chance)


def zero(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    end = min(len(data), at + chance.choice([8, 512, 4096, 20_000]))
    data[at:end] = bytes(end - at)


def garble(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    end = min(len(data), at + chance.choice([8, 512, 4096, 20_000]))
    data[at:end] = chance.randbytes(end - at)


def cut(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data)) :]


def cut_pages(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data) // 4096 + 1) * 4096 :]


def empty(data: bytearray, _: random.Random) -> None:
    data.clear()


def append(data: bytearray, chance: random.Random) -> None:
    data += chance.randbytes(chance.randint(1, 10_000))


def move_a_page(data: bytearray, chance: random.Random) -> None:
    source, target = (chance.randrange(len(data) // 4096 + 1) * 4096 for _ in range(2))
    page = data[source : source + 4096]
    data[target : target + len(page)] = page


DAMAGES: list[Callable[[bytearray, random.Random], None]] = [
    flip, flip, flip_many, zero, garble, cut, cut_pages, empty, append, move_a_page
]  # fmt: skip


def damage(files: SpoolFiles, chance: random.Random) -> set[str]:
    """Damage one or two of the files, and return which parts: the database with its log, or the slots."""
    parts = set()
    for _ in range(chance.choice([1, 1, 2])):
        file = chance.choice([one for one in (files.db, files.db, files.wal, files.slots) if one.exists()])
        if chance.random() < 0.05:
            file.unlink()
        else:
            data = bytearray(file.read_bytes())
            if data:
                chance.choice(DAMAGES)(data, chance)
                file.write_bytes(data)
        parts.add("slots" if file == files.slots else "database")
        if not any(one.exists() for one in (files.db, files.wal, files.slots)):
            break
    return parts


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    made = Line(tmp_path / "spool", seed=1)
    yield made
    made.file.close()


def reopen(files: SpoolFiles) -> SpoolDatabase:
    file = SpoolDatabase(files, SIZE, WhenFull.REFUSE_NEWEST)
    file.open()
    return file


ROUNDS, BATCHES = 20, 10


@pytest.mark.parametrize("seed", range(BATCHES))
def test_whatever_is_damaged_the_spool_starts_and_knows_what_it_lost(tmp_path: Path, seed: int) -> None:
    """An edge box loses power, and its disk ages: that must never stop a line from being read."""
    for number in range(ROUNDS):
        one_round(tmp_path / f"{number}", seed * ROUNDS + number)
        shutil.rmtree(tmp_path / f"{number}")


def one_round(folder: Path, seed: int) -> None:
    line = Line(folder / "made", seed)
    line.work()
    if line.random.random() < 0.3:
        line.file.close()
        files = line.killed(folder / "damaged")
    else:
        files = line.killed(folder / "damaged")
        line.file.close()
    parts = damage(files, line.random)
    file = reopen(files)
    try:
        ledger = Ledger.of(file.state.counts, file.state.readings)
        assert ledger.balanced, ledger
        found = everything(file)
        found |= {record.seq: record for record in file.read(settle(file, ledger), 10**6)[0]}
        assert all(line.issued[seq] == record for seq, record in found.items()), "something was invented"
        assert ledger.balanced, ledger
        assert ledger.pending == sum(record.readings for record in found.values())
        if len(parts) == 1:
            lost = sum(record.readings for seq, record in line.waiting().items() if seq not in found)
            assert found.keys() <= line.waiting().keys(), "given out though it was confirmed"
            assert (ledger.acquired, ledger.confirmed) == (line.ledger.acquired, line.ledger.confirmed)
            assert ledger.dropped["damaged"] == lost
            assert file.state.next > len(line.issued)
        goes_on(file, ledger)
    finally:
        file.close()


def settle(file: SpoolDatabase, ledger: Ledger) -> list[tuple[int, int]]:
    """Let the spool settle what it found out while it was read, and count it; returns what is to be read again."""
    again = []
    for _ in range(2):
        result = file.write(batch(ledger.counts(), file.state.next, [], []))
        ledger.dropped["damaged"] += result.damaged
        ledger.pending = result.readings
        again += result.readable_again
    assert Ledger.of(file.state.counts, file.state.readings).counts() == (+ledger.counts())
    return again


def goes_on(file: SpoolDatabase, ledger: Ledger) -> None:
    """Put another record, and find that and all others after a restart, without any more damage."""
    fresh = Spooled(file.state.next, "line/m-9", b"fresh", 5)
    ledger.acquired += 5
    assert file.write(batch(ledger.counts(), fresh.seq + 1, [fresh], [])).stored == [fresh]
    before, asides = everything(file), file.files.all_damaged()
    file.close()
    again = reopen(file.files)
    try:
        assert everything(again) == before
        assert before[fresh.seq] == fresh
        assert again.files.all_damaged() == asides, "a mended spool is whole"
        assert Ledger.of(again.state.counts, again.state.readings).balanced
    finally:
        again.close()
