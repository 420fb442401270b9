"""A dead-letter file that can't be written stops nothing but the records that it is needed for."""

from __future__ import annotations

import asyncio
import errno
import threading
from typing import TYPE_CHECKING, Any, cast

import pytest
import structlog
from processes import until

from gateway.common.dead_letters import DeadLetter, DeadLetters, read_letters
from gateway.ingest import set_aside
from gateway.ingest.batch import Batch, Confirmation, ReceivedRecord, Sender
from gateway.ingest.set_aside import SetAside
from gateway.ingest.status import IngestStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator
    from pathlib import Path

SENDER = Sender("e", "s", "edge", "sp")
LETTER = DeadLetter("store", "400 field type conflict", b"m a=1i 5")


class Disk(DeadLetters):
    """A file whose disk may be full, or hang."""

    def __init__(self, file: Path) -> None:
        super().__init__(file, 2**20)
        self.full = False
        self.attempts = 0
        self.go = threading.Event()
        self.go.set()

    def write(self, letters: Iterable[DeadLetter]) -> None:
        self.attempts += 1
        self.go.wait(30)
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write(letters)

    @property
    def reasons(self) -> list[str]:
        return self.file.read_text(encoding="utf-8").split('"reason":"')[1:] if self.file.exists() else []


class Bench:
    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.status = IngestStatus()
        self.late: list[Confirmation] = []
        self.set_aside = SetAside(disk, self.status, self.late.extend)

    def batch(self, *refused: int, records: int = 3) -> Batch:
        """Return a batch of records 0, 1, 2, of which some were refused a reading."""
        batch = Batch(cast("Any", None))
        for seq in range(records):
            record = ReceivedRecord(SENDER, seq, "lineside/v1/e/s/a/l/m/data", b"{}", 5, seq.to_bytes(32))
            batch.records.append(record)
        for position in refused:
            batch.refuse(position, 1, LETTER)
        return batch


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(set_aside, "RETRY_INTERVAL", 0.005)
    made = Bench(Disk(tmp_path / "letters.jsonl"))
    task = asyncio.create_task(made.set_aside.run())
    yield made
    made.disk.go.set()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await made.set_aside.close()


@pytest.fixture
def logs() -> Iterator[list[structlog.typing.EventDict]]:
    with structlog.testing.capture_logs() as captured:
        yield captured


def confirmed(batch: Batch) -> list[tuple[int, int]]:
    return [(one.seq, one.set_aside) for one in batch.confirmations()]


async def test_a_record_is_confirmed_after_its_letters_are_on_the_disk(bench: Bench):
    batch = bench.batch(1)
    await bench.set_aside.write(batch)
    assert len(bench.disk.reasons) == 1
    assert confirmed(batch) == [(0, 0), (1, 1), (2, 0)]
    assert list(batch.unsettled()) == []


async def test_a_full_disk_holds_up_only_the_records_that_need_it(
    bench: Bench, logs: list[structlog.typing.EventDict]
):
    """A store that refuses a field of one machine must not stop the readings of all others."""
    bench.disk.full = True
    first, second = bench.batch(1), bench.batch(2)
    await bench.set_aside.write(first)
    await bench.set_aside.write(second)
    assert confirmed(first) == [(0, 0), (2, 0)]
    assert [one.seq for one in first.unsettled()] == [1]
    assert confirmed(second) == [(0, 0), (1, 0)]
    assert bench.late == []
    bench.disk.full = False
    await until(lambda: len(bench.late) == 2, "the records are confirmed")
    assert bench.late == [Confirmation(SENDER, seq, seq.to_bytes(32), 1) for seq in (1, 2)]
    assert len(bench.disk.reasons) == 2
    events = [log["event"] for log in logs]
    assert events.count("dead_letters.not_written") == events.count("dead_letters.written") == 1


async def test_letters_that_are_written_before_the_store_is_durable_need_no_confirmation_of_their_own(bench: Bench):
    """A store that answers early has the batch wait anyway."""
    bench.disk.full = True
    batch = bench.batch(1)
    await bench.set_aside.write(batch)
    bench.disk.full = False
    await until(lambda: bench.disk.reasons, "the letter is written")
    await until(lambda: not list(batch.unsettled()), "the record is settled")
    assert bench.late == []
    assert confirmed(batch) == [(0, 0), (1, 1), (2, 0)]


async def test_a_disk_that_hangs_holds_up_nothing_for_long(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    """A network drive that is gone neither answers nor fails."""
    monkeypatch.setattr(set_aside, "WRITE_TIMEOUT", 0.05)
    bench.disk.go.clear()
    loop = asyncio.get_running_loop()
    began = loop.time()
    batches = [bench.batch(1) for _ in range(10)]
    for batch in batches:
        await bench.set_aside.write(batch)
    assert loop.time() - began < 5
    assert [confirmed(batch) for batch in batches] == [[(0, 0), (2, 0)]] * 10
    bench.disk.go.set()
    await until(lambda: bench.late, "the record is confirmed")


async def test_a_record_that_is_sent_again_is_set_aside_once(bench: Bench):
    """Its gateway sends it every two minutes as long as it is not confirmed."""
    bench.disk.full = True
    for _ in range(50):
        await bench.set_aside.write(bench.batch(1))
    bench.disk.full = False
    await until(lambda: bench.disk.reasons, "the letter is written")
    assert len(bench.disk.reasons) <= 2  # one may have been on its way already


async def test_letters_that_wait_are_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    """Records that find no room come again; nothing else is affected."""
    monkeypatch.setattr(set_aside, "MAX_PENDING_BYTES", 2_000)
    bench.disk.full = True
    batch = bench.batch(*range(100), records=100)
    await bench.set_aside.write(batch)
    assert confirmed(batch) == []
    assert len(list(batch.unsettled())) == 100
    assert bench.status.letters_dropped > 90
    bench.disk.full = False
    await until(lambda: bench.late, "those that had room are confirmed")
    assert 1 <= len(bench.late) < 10


async def test_a_thousand_refusals_are_one_line_of_log(bench: Bench, logs: list[structlog.typing.EventDict]):
    """The file is opened once."""
    await bench.set_aside.write(bench.batch(*range(1000), records=1000))
    assert bench.status.dead_letters == 1000
    assert len(bench.disk.reasons) == 1000
    assert [log["event"] for log in logs] == ["message.set_aside"]
    assert bench.disk.attempts == 1


async def test_a_letter_that_can_not_be_encoded_holds_up_no_other(bench: Bench):
    """Its texts are left out; a surrogate in one ended the writing of all."""
    batch = bench.batch(0)
    batch.refuse(1, 1, DeadLetter("store", "\ud800", b"the row"))
    await bench.set_aside.write(batch)
    assert confirmed(batch) == [(0, 1), (1, 1), (2, 0)]
    assert [one["payload"] for one in read_letters(bench.disk.file)][-1] == "the row"
