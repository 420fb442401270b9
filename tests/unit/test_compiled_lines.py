"""Lines of a batch from compiled layouts: the same as lines that are written one by one."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.metadata import MachineMeta
from gateway.model.path import MachinePath
from gateway.model.reading import NamedScan
from gateway.stores import line_protocol
from gateway.stores.base import MachineScan, Refusal
from gateway.stores.line_protocol import LineWriter, encode
from gateway.stores.tables import TABLES, Column, Table

NAMES = ("a", "b b", "c,c=", "time", "100%", "%b", "ü", "back\\slash")
KINDS = ("float", "int", "bool", "string", "json")
TABLE = Table("a table", (Column("a", tag=True), Column("b"), Column("time", "integer"), Column("c", "real")))
TEXTS = st.one_of(
    st.just('{"a": "b c", "b": "d", "time": 5, "c": 5}'),
    st.just('{"a": ""}'),
    st.text(max_size=12),
    st.just(""),
    st.just('a,"b\\'),
    st.just("x" * 5000),
)
VALUES = {
    "float": st.one_of(st.floats(), st.integers(-(2**63), 2**63 - 1)),
    "int": st.one_of(st.integers(-(2**64), 2**64), st.just(1.5)),
    "bool": st.booleans(),
    "string": TEXTS,
    "json": TEXTS,
}
TIMES = st.integers(0, 2**50)
REASONS = st.sampled_from(("refused", "out_of_range"))


@st.composite
def scans(draw: st.DrawFn) -> MachineScan:
    machine = draw(st.sampled_from(("m-01", "m 02", "50%", "bad\\name")))
    kinds = {name: draw(st.sampled_from(KINDS)) for name in draw(st.lists(st.sampled_from(NAMES), unique=True))}
    units = {name: draw(st.sampled_from(("", "bar", "%", "Cel", "\x01"))) for name in kinds}
    declared = {name: kind for name, kind in kinds.items() if draw(st.integers(0, 9))}
    contents = dict.fromkeys(draw(st.sets(st.sampled_from(NAMES), max_size=3)), "test")
    meta = MachineMeta(draw(st.sampled_from(("press", "a b", "#", "p%r"))), declared, units, contents)
    values: dict[str, Any] = {}
    scan = NamedScan(draw(TIMES), values)
    for name, kind in kinds.items():
        if draw(st.integers(0, 9)):
            values[name] = draw(VALUES[kind])
        else:
            scan.bad[name] = draw(REASONS)
            scan.codes[name] = "exception 2"
    if draw(st.booleans()) and values:
        some = draw(st.sampled_from(sorted(values)))
        draw(st.sampled_from((scan.times, scan.uncertain)))[some] = draw(TIMES)  # type: ignore[index]
        scan.uncertain = dict.fromkeys(scan.uncertain, "out_of_range")
    scan.late = draw(st.integers(0, 9)) == 0
    return MachineScan(MachinePath("e", "s", "a", "l", machine), meta, scan, draw(st.integers(0, 5)))


@pytest.mark.slow
@given(batch=st.lists(scans(), max_size=6), labels=st.booleans())
def test_a_batch_has_the_lines_that_its_scans_have_one_by_one(batch: list[MachineScan], *, labels: bool) -> None:
    """A server that refuses rows names them by their text or their number among those that it was sent."""
    together: list[Refusal] = []
    singly: list[Refusal] = []
    writer = LineWriter(labels=labels)
    with patch.dict(TABLES, {"test": TABLE}):
        for _ in range(2):  # compiled, and from the cache
            together.clear()
            body = writer.body(batch, together)
        lines = [line for entry in batch for line in LineWriter(labels=labels).lines(entry, singly)]
    assert body == b"\n".join(map(encode, lines))
    assert together == singly


def entry(machine: int, **values: Any) -> MachineScan:
    meta = MachineMeta("press", {"a": "float", "b": "int"}, {"a": "bar"})
    return MachineScan(MachinePath("e", "s", "a", "l", f"m-{machine:02d}"), meta, NamedScan(7, values), 0)


def test_whole_numbers_of_a_float_point_are_floats():
    """A field keeps the type of its first value, and publishers in other languages write 16 in place of 16.0."""
    writer = LineWriter(labels=False)
    tags = "press,area=a,enterprise=e,line=l,machine=m-01,site=s"
    for value in (16, 16.5, 17):
        body = writer.body([entry(1, a=value, b=2)], [])
        assert body.decode() == f"{tags},unit=bar a={float(value)} 7\n{tags} b=2i 7"


@pytest.mark.parametrize("limit", ["MAX_LAYOUT_BYTES", "MAX_CACHED", "MAX_LAYOUTS"])
def test_compiled_layouts_are_bounded(monkeypatch: pytest.MonkeyPatch, limit: str):
    """Any client can publish records of new machines and points."""
    monkeypatch.setattr(line_protocol, limit, 2)
    writer = LineWriter(labels=False)
    batch = [entry(machine, **{name: 1.0}) for machine in range(5) for name in ("a", "b", "c", "d")]
    lines = [line for one in batch for line in writer.lines(one, [])]
    assert writer.body(batch, []) == b"\n".join(map(encode, lines))
    assert writer.layouts <= 10 < len(batch)
