"""Records as a builder makes them: within the bound, numbered in order, with nothing left out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scans import CODEC, encode, facts, facts_of_records, scans

from gateway.model.reading import NamedScan
from gateway.spool.record_builder import RecordBuilder
from gateway.spool.splitter import halve


@pytest.mark.slow
@given(added=st.lists(scans().filter(len), min_size=1, max_size=12), bound=st.integers(150, 1500))
def test_a_builder_makes_records_within_the_bound_and_leaves_nothing_out(added: list[NamedScan], bound: int):
    """Only a reading that is larger by itself may be in a larger record, alone."""
    builder: RecordBuilder[NamedScan] = RecordBuilder("topic", encode, halve, bound)
    for scan in added:
        builder.add(scan, len(scan))
    assert builder.readings == sum(map(len, added))
    records = builder.close(41)
    assert [record.seq for record in records] == list(range(41, 41 + len(records)))
    decoded = [CODEC.decode(record.payload) for record in records]
    assert [record.seq for record in decoded] == [record.seq for record in records]
    assert [record.readings for record in records] == [len(record) for record in decoded]
    assert all(len(record.payload) <= bound or record.readings == 1 for record in records)
    assert facts_of_records(decoded) == {fact for scan in added for fact in facts(scan)}
    assert builder.readings == 0
    assert builder.close(99)[0].readings == 0


def test_a_builder_closes_early_by_the_size_of_its_last_record():
    """A record that must be split after encoding costs twice."""
    builder: RecordBuilder[NamedScan] = RecordBuilder("topic", encode, halve, 10_000)
    for _ in range(2):
        while not builder.add(NamedScan(1, {f"p{i}": 12345 for i in range(100)}), 100):
            pass
        records = builder.close(1)
    assert len(records) == 1
    assert 5_000 < len(records[0].payload) <= 10_000
