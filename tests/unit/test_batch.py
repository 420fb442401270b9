"""The memory that a batch claims is the memory that it uses, and its confirmations count each reading once."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any, cast

import pytest

from gateway.codecs import CODECS
from gateway.common.dead_letters import DeadLetter
from gateway.ingest.batch import Batch, ReceivedRecord, Sender
from gateway.ingest.decoder import MessageDecoder
from gateway.ingest.metadata_registry import MetadataRegistry
from gateway.ingest.metadata_requests import MetadataRequests
from gateway.ingest.status import IngestStatus
from gateway.model.metadata import MachineMeta
from gateway.model.path import MachinePath
from gateway.model.reading import NamedScan
from gateway.model.record import Record
from gateway.mqtt.packets import ReceivedMessage
from gateway.mqtt.topics import Topics

PATH = MachinePath("enterprise", "site", "area", "line", "machine-01")


@pytest.mark.slow
@pytest.mark.parametrize(("points", "scans"), [(1, 1), (5, 1), (50, 1), (1, 20), (200, 3)])
def test_a_batch_claims_the_memory_that_it_uses(points: int, scans: int) -> None:
    """A million readings of one point each took 1.2 GB where some 100 MB were allowed for."""
    names = [f"p{number}" for number in range(points)]
    meta = MachineMeta("t", dict.fromkeys(names, "float"), dict.fromkeys(names, "bar"))
    registry = MetadataRegistry()
    registry.add(PATH, [meta])
    decoder = MessageDecoder(
        Topics("lineside/v1"), registry, MetadataRequests(lambda: 0.0), IngestStatus(),
        gateway_resends=True,
    )  # fmt: skip
    count = max(20, 10_000 // (points * scans))
    payloads = [
        CODECS["json"].encode(
            Record(
                "edge-01", "a1b2c3d4", seq,
                [NamedScan(seq * 1_000_000 + n, dict.fromkeys(names, seq + n / 7)) for n in range(scans)], meta.id,
            )
        )
        for seq in range(1, count + 1)
    ]  # fmt: skip

    def decode(batch: Batch, payloads: list[bytes]) -> None:
        for payload in payloads:
            # as a copy that only this message has
            decoder.add(batch, ReceivedMessage(f"lineside/v1/{PATH}/data", bytes(bytearray(payload))))
        batch.messages.clear()

    decode(Batch(cast("Any", None)), payloads[:1])  # fill the caches, which are not part of a batch
    batch = Batch(cast("Any", None))
    gc.collect()
    gc.freeze()  # the objects of earlier tests, which each later collection would visit for a second
    tracemalloc.start()
    decode(batch, payloads)
    gc.collect()
    decoded = tracemalloc.get_traced_memory()[0]
    claimed = batch.decoded_size
    batch.scans = []
    gc.collect()
    waiting = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert 0.5 * claimed < decoded < claimed
    assert 0.6 * batch.size < waiting < 1.1 * batch.size  # a batch itself has a few kilobytes


def test_a_record_loses_no_more_than_it_has() -> None:
    """Two stores may refuse the same readings; the ledger counts each once."""
    batch = Batch(cast("Any", None))
    batch.records.append(
        ReceivedRecord(Sender("e", "s", "g", "sp"), 7, f"lineside/v1/{PATH}/data", b"", 3, bytes(32))
    )
    letter = DeadLetter("store", "no", b"row")
    assert [batch.refuse(0, 2, letter), batch.refuse(0, 2, letter), batch.refuse(0, 2, letter)] == [2, 1, 0]
    assert [(one.seq, one.set_aside) for one in batch.confirmations()] == [(7, 3)]
    assert len(batch.letters[0]) == 3
