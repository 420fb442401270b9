"""Scans of all kinds, and the facts in them, for tests of records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from gateway.codecs import CODECS
from gateway.model.reading import NamedScan
from gateway.model.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterable

CODEC = CODECS["json"]
names = st.text("abcdefgh", min_size=1, max_size=3)


@st.composite
def scans(draw: st.DrawFn) -> NamedScan:
    values = draw(st.dictionaries(names, st.integers(0, 10**6) | st.text(max_size=40), max_size=12))
    bad = draw(st.dictionaries(names.filter(lambda name: name not in values), st.just("no_response"), max_size=4))
    some = st.lists(st.sampled_from(sorted({*values, *bad, "zz"})), unique=True, max_size=5)
    known = {*values, *bad}
    return NamedScan(
        draw(st.integers(0, 10**15)), values, bad,
        {name: "out_of_range" for name in draw(some) if name in values},
        {name: "0x80" for name in draw(some) if name in known},
        {name: 7 for name in draw(some) if name in known},
    )  # fmt: skip


def facts(scan: NamedScan) -> set[tuple[Any, ...]]:
    """Return the content of a scan: a tuple for each reading."""
    return {
        (
            name, scan.times.get(name, scan.time), scan.values.get(name), scan.bad.get(name),
            scan.uncertain.get(name), scan.codes.get(name),
        )
        for name in (*scan.values, *scan.bad)
    }  # fmt: skip


def encode(seq: int, items: list[NamedScan]) -> bytes:
    return CODEC.encode(Record("edge", "spool", seq, items, "meta"))


def facts_of_records(records: Iterable[Record]) -> set[tuple[Any, ...]]:
    return {fact for record in records for scan in record.scans for fact in facts(scan)}
