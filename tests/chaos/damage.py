"""Damage to the spool's files at random: whatever happens to them, a start succeeds, and the loss is counted.

    cd tests && python -m chaos.damage --count 10000

Each round fills a spool as a gateway does, closes or kills it, damages one or two of its files, opens it, and judges:
no record is invented, none is lost that is intact, the ledger balances, and the spool goes on.
"""

from __future__ import annotations

import argparse
import logging
import random
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import structlog

from gateway.model.ledger import Ledger
from gateway.settings.sections import Sync, WhenFull
from gateway.spool.batch import Batch
from gateway.spool.database import SpoolDatabase
from gateway.spool.files import PAGE, Spooled, SpoolFiles
from gateway.spool.inspect import NotReadable, inspect, records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MEMORY = Path("/dev/shm")  # noqa: S108 - a folder in memory, where there is one: files are copied, and never synced

SIZE = 2**21

SIZES = (0, 40, 300, 1500, 2500, 4000, 4061, 9000, 60_000)
"""Bytes of payloads: many in a page, one in a page, in several pages."""

FRAME, LOG_HEAD = 24 + PAGE, 32
"""Bytes of a frame and of the head of the write-ahead log."""


class FilledSpool:
    """A spool's database, and the truth about the records that were put into it."""

    def __init__(self, folder: Path, seed: int, size: int = SIZE) -> None:
        self.files = SpoolFiles(folder, "edge")
        self.random = random.Random(seed)  # noqa: S311 - to be repeated
        self.issued: dict[int, Spooled] = {}
        self.confirmed: set[int] = set()
        self.file = reopen(self.files, size)
        # so that more or less of it is still in the log
        self.file._db.execute(f"pragma wal_autocheckpoint = {self.random.choice([5, 50, 1000])}")  # noqa: SLF001 - counts for this connection alone
        self.ledger = Ledger()

    def waiting(self) -> dict[int, Spooled]:
        return {seq: record for seq, record in self.issued.items() if seq not in self.confirmed}

    def commit(self, puts: int = 0, confirms: list[int] | None = None) -> None:
        """Put some records, of random size, and confirm some."""
        made = []
        for _ in range(puts):
            seq = len(self.issued) + 1
            payload = self.random.randbytes(self.random.choice(SIZES))
            made.append(Spooled(seq, f"line/m-{seq % 3}", payload, self.random.randint(1, 50)))
            self.issued[seq] = made[-1]
            self.ledger.acquired += made[-1].readings
        spans = [(seq, seq) for seq in confirms or []]
        result = self.file.write(batch(self.ledger.counts(), len(self.issued) + 1, made, spans))
        self.confirmed |= set(confirms or [])
        self.ledger.confirmed += result.confirmed
        assert result.complete
        assert not result.overflow

    def work(self) -> None:
        """Do as much as a gateway does in a while."""
        for _ in range(self.random.randint(1, 25)):
            waiting = list(self.waiting())
            some = self.random.sample(waiting, self.random.randint(0, len(waiting) // 2)) if waiting else []
            self.commit(self.random.randint(0, 8), some)

    def killed(self, folder: Path) -> SpoolFiles:
        """Return the files as a kill at this moment would leave them."""
        folder.mkdir()
        for file in self.files.folder.iterdir():
            if file == self.files.reserve:  # its content says nothing
                (folder / file.name).write_bytes(bytes(PAGE))
            else:
                shutil.copy(file, folder)
        return SpoolFiles(folder, "edge")

    def close(self) -> None:
        self.file.close()


def batch(counts: Counter[str], next_seq: int, puts: list[Spooled], confirms: list[tuple[int, int]]) -> Batch:
    return Batch(puts, confirms, {}, [], counts, next_seq)


def everything(file: SpoolDatabase) -> dict[int, Spooled]:
    """Return all records that the spool hands out, as a publisher would ask for them."""
    found: dict[int, Spooled] = {}
    pending = file.pending.copy()
    while ranges := pending.pop_ranges(7):
        leased, rest = file.read(ranges, 7)
        for span in rest:
            pending.add(*span)
        for record in leased:
            assert record.seq not in found, "handed out twice"
            found[record.seq] = record
    return found


# -- kinds of damage --


def flip(data: bytearray, chance: random.Random) -> None:
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def flip_many(data: bytearray, chance: random.Random) -> None:
    for _ in range(20):
        flip(data, chance)


def flip_in_schema(data: bytearray, chance: random.Random) -> None:
    """Change a bit of the first page, or of the first bytes of any file: heads and schema are there."""
    data[chance.randrange(min(len(data), PAGE))] ^= 1 << chance.randrange(8)


def flip_in_text(data: bytearray, chance: random.Random) -> None:
    """Change the text of the schema into something that is not UTF-8."""
    at = data.lower().find(b"create table")
    if at >= 0:
        data[at + chance.randrange(200)] ^= 0x80
    else:
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
    del data[chance.randrange(len(data) // PAGE + 1) * PAGE :]


def empty(data: bytearray, _: random.Random) -> None:
    data.clear()


def append(data: bytearray, chance: random.Random) -> None:
    data += chance.randbytes(chance.randint(1, 10_000))


def move_a_page(data: bytearray, chance: random.Random) -> None:
    source, target = (chance.randrange(len(data) // PAGE + 1) * PAGE for _ in range(2))
    page = data[source : source + PAGE]
    data[target : target + len(page)] = page


DAMAGES: list[Callable[[bytearray, random.Random], None]] = [
    flip, flip, flip_many, flip_in_schema, flip_in_text, zero, garble, cut, cut_pages, empty, append, move_a_page
]  # fmt: skip

STRAYS = ["nothing", "nothing", "journal of another database", "garbled journal", "unfinished database", "garbage"]


def leave(files: SpoolFiles, chance: random.Random) -> None:
    """Leave a file that a kill may leave in the middle of a start: a rollback journal, or a new database."""
    kind = chance.choice(STRAYS)
    if kind == "journal of another database":
        files.journal.write_bytes(hot_journal(files.folder))
    elif kind == "garbled journal":
        data = bytearray(hot_journal(files.folder))
        chance.choice(DAMAGES)(data, chance)
        files.journal.write_bytes(data)
    elif kind == "unfinished database" and files.db.exists():
        files.new.write_bytes(files.db.read_bytes()[: chance.randrange(1, 5) * PAGE // 2])
    elif kind == "garbage":
        files.new.write_bytes(chance.randbytes(chance.choice([0, 100, PAGE])))


def hot_journal(folder: Path) -> bytes:
    """Return a rollback journal that SQLite would apply: it makes a database small again."""
    scratch = folder / "scratch.db"
    journal = folder / "scratch.db-journal"
    with closing(sqlite3.connect(scratch, isolation_level=None)) as db:
        db.execute("create table t (x)")
        db.execute("pragma cache_size = 1")
        db.execute("begin immediate")
        for _ in range(30):
            db.execute("insert into t values (randomblob(3000))")
        data = journal.read_bytes()
        db.execute("rollback")
    scratch.unlink()
    return data


def damage(files: SpoolFiles, chance: random.Random) -> set[str]:
    """Damage one or two files; returns their parts: the database with its log, the slots, or others."""
    parts = set()
    others = (files.shm, files.reserve, files.lock, files.letters, files.journal, files.new)
    for _ in range(chance.choice([1, 1, 2])):
        choices = [
            files.db,
            files.db,
            files.db,
            files.wal,
            files.wal,
            files.slots,
            files.slots,
            chance.choice(others),
        ]
        there = [file for file in choices if file.exists()]
        if not there:
            break
        file = chance.choice(there)
        if chance.random() < 0.05:
            file.unlink()
        else:
            data = bytearray(file.read_bytes())
            if data:
                chance.choice(DAMAGES)(data, chance)
                file.write_bytes(data)
        parts.add("slots" if file == files.slots else "others" if file in others else "database")
    return parts


# -- the judgement --


def intact(before: SpoolFiles, after: SpoolFiles, waiting: dict[int, Spooled]) -> set[int]:
    """Return those of the records of one page of which every copy, in the database and its log, is untouched."""
    untouched: dict[int, bool] = {}
    for old, new, head, size in ((before.db, after.db, 0, PAGE), (before.wal, after.wal, LOG_HEAD, FRAME)):
        was = old.read_bytes() if old.exists() else b""
        now = new.read_bytes() if new.exists() else b""
        for seq, record in waiting.items():
            if 300 <= len(record.payload) <= 4000:
                for at in occurrences(was, record.payload[:100]):
                    page = head + (at - head) // size * size
                    same = was[page : page + size] == now[page : page + size]
                    untouched[seq] = untouched.get(seq, True) and same
    return {seq for seq, same in untouched.items() if same}


def occurrences(data: bytes, part: bytes) -> Iterator[int]:
    at = data.find(part)
    while at >= 0:
        yield at
        at = data.find(part, at + 1)


class Round(NamedTuple):
    """The outcome of a round: the damaged parts, the readings that were lost, and whether it was rebuilt."""

    parts: frozenset[str]
    lost: int
    rebuilt: bool


def one_round(folder: Path, seed: int) -> Round:
    """Fill, damage, open and judge one spool. Raises `AssertionError`, or whatever a start raises."""
    spool = FilledSpool(folder / "made", seed)
    spool.work()
    if spool.random.random() < 0.3:
        spool.close()
        files = spool.killed(folder / "damaged")
    else:
        files = spool.killed(folder / "damaged")
        spool.close()
    shutil.copytree(files.folder, folder / "before")
    leave(files, spool.random)
    parts = damage(files, spool.random)
    look(files)
    unharmed = intact(SpoolFiles(folder / "before", "edge"), files, spool.waiting())
    file = reopen(files)
    try:
        return judge(spool, file, parts, unharmed)
    finally:
        file.close()


def look(files: SpoolFiles) -> None:
    """Look at the spool as a person does: that shows it, or says why not; and changes nothing."""
    before = {file: file.read_bytes() for file in (files.db, files.wal, files.slots, files.journal) if file.exists()}
    with suppress(NotReadable):
        inspect(files)
    with suppress(NotReadable):
        for _ in records(files):
            pass
    assert {file: file.read_bytes() for file in before} == before, "changed by looking"


def judge(spool: FilledSpool, file: SpoolDatabase, parts: set[str], unharmed: set[int]) -> Round:
    ledger = Ledger.of(file.state.counts, file.state.readings)
    assert ledger.balanced, ledger
    found = everything(file)
    found |= {record.seq: record for record in file.read(settle(file, ledger), 10**6)[0]}
    assert all(spool.issued[seq] == record for seq, record in found.items()), "something was invented"
    assert unharmed <= found.keys(), "lost though it is intact"
    assert ledger.balanced, ledger
    assert ledger.pending == sum(record.readings for record in found.values())
    if file.state.spool == spool.file.state.spool:  # else nothing was left, and a new spool has numbers of its own
        assert file.state.next > len(spool.issued), "a number could be given twice"
    lost = sum(record.readings for seq, record in spool.waiting().items() if seq not in found)
    if not {"database", "slots"} <= parts:
        assert found.keys() <= spool.waiting().keys(), "handed out though it was confirmed"
        assert (ledger.acquired, ledger.confirmed) == (spool.ledger.acquired, spool.ledger.confirmed)
        assert ledger.dropped["damaged"] == lost
    rebuilt = bool(file.files.all_damaged())
    goes_on(file, ledger)
    return Round(frozenset(parts), lost, rebuilt)


def reopen(files: SpoolFiles, size: int = SIZE) -> SpoolDatabase:
    file = SpoolDatabase(files, size, WhenFull.REFUSE_NEWEST, Sync.NORMAL)  # a copy needs no sync
    file.open()
    return file


def settle(file: SpoolDatabase, ledger: Ledger) -> list[tuple[int, int]]:
    """Let the spool settle the damage that it found while it was read, and count it; returns what to read again."""
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
    before, kept = everything(file), file.files.all_damaged()
    file.close()
    again = reopen(file.files)
    try:
        assert everything(again) == before
        assert before[fresh.seq] == fresh
        assert again.files.all_damaged() == kept, "a rebuilt spool is whole"
        assert Ledger.of(again.state.counts, again.state.readings).balanced
    finally:
        again.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Damage spools at random, and open them.")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="of the first round; the others count on")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    began, parts, rebuilt, lost = time.monotonic(), Counter[str](), 0, 0
    with tempfile.TemporaryDirectory(prefix="lineside-damage-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        for seed in range(options.seed, options.seed + options.count):
            try:
                found = one_round(Path(folder) / str(seed), seed)
            except BaseException:
                sys.stdout.write(f"seed {seed} failed\n")
                raise
            shutil.rmtree(Path(folder) / str(seed))
            parts["+".join(sorted(found.parts))] += 1
            rebuilt += found.rebuilt
            lost += found.lost
    lines = [
        f"{options.count} damaged spools opened in {time.monotonic() - began:.0f} s, none refused",
        *(f"    {part:<24}{number:>8}" for part, number in sorted(parts.items())),
        f"    rebuilt {rebuilt}; {lost} readings lost, each counted; nothing invented, nothing intact lost",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
