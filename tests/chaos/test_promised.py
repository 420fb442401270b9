"""The answers that a dead gateway had on its disk, as the judge of the chaos reads them."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any

from chaos.machines import check_of, third_of
from chaos.promised import newest_spooled

if TYPE_CHECKING:
    from pathlib import Path


def payload(*counts: int, **other: Any) -> bytes:
    scans = [
        {"values": {"count": count, "check": check_of(count), "third": third_of(count)} | other} for count in counts
    ]
    return json.dumps({"scans": [*scans, {"values": {}, "bad": {"count": "not_connected"}}]}).encode()


def spool(folder: Path, *records: tuple[int | str, bytes]) -> Path:
    folder.mkdir()
    with sqlite3.connect(folder / "edge-01.spool.db") as db:
        db.execute("create table records (topic, payload)")
        db.executemany("insert into records values (?, ?)", [(f"r/e/s/a/l/unit-{u}/data", p) for u, p in records])
    return folder


def test_the_last_answer_of_each_unit_counts(tmp_path: Path):
    """They are spooled in their order, so all before it were on disk, too."""
    folder = spool(tmp_path / "spool", (1, payload(4)), (1, payload(5, 6)), (2, payload(9)))
    assert newest_spooled(folder, [1, 2, 3], tmp_path / "aside") == {1: 6, 2: 9, 3: -1}


def test_a_record_with_a_flipped_bit_promises_nothing(tmp_path: Path):
    """It will be set aside, and counted."""
    folder = spool(
        tmp_path / "spool",
        (1, payload(4)),
        (1, payload(7).replace(b'"count": 7', b'"count": 5')),
        (1, payload(8).replace(b"third", b"vhird")),
        (1, payload(9, fourth=1)),
        (1, payload(10)[:-9]),
        ("x", payload(11)),
        (7, payload(12)),
    )
    assert newest_spooled(folder, [1, 2], tmp_path / "aside") == {1: 4, 2: -1}
