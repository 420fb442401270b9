"""Messages of a known layout are decoded as others are, and become the same scans."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from asyncua import ua
from hypothesis import given
from hypothesis import strategies as st
from opcua_messages import envelope, of_raw_items

from drivers.base import Group
from drivers.opcua.codec.binary import NUMBERS, SERVER_TIME, SOURCE_TIME, STATUS, VALUE
from drivers.opcua.codec.change_layouts import FEW, MAX_LAYOUTS, RETRY, ChangeLayouts
from drivers.opcua.codec.publish_response import publish_response
from drivers.opcua.counters import Counters
from drivers.opcua.errors import DecodeError
from drivers.opcua.settings import OpcUaConnection, OpcUaSource
from drivers.opcua.subscription.scan_builder import ScanBuilder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivers.base import Scan
    from drivers.opcua.codec.data_changes import DataChanges

BOOL, INT16, DOUBLE, STRING = 1, 4, 11, 12
NOW = 1_764_000_000_000_000
TICKS = NOW * 10 + ua.uatypes.EPOCH_AS_FILETIME
BAD_SENSOR = 0x808C0000


class Item(NamedTuple):
    """One change, as it is sent; `times` is the mask of the source and server time."""

    handle: int
    kind: int = DOUBLE
    times: int = SOURCE_TIME | SERVER_TIME
    has_status: bool = False
    status: int = 0
    source: int = TICKS
    value: int = 1

    def encoded(self) -> bytes:
        mask = VALUE | self.times | STATUS * self.has_status
        value = (
            struct.pack("<i", 1) + b"a"
            if self.kind == STRING
            else struct.pack("<" + NUMBERS[self.kind], self.value % 2 if self.kind == BOOL else self.value % 100)
        )
        parts = [struct.pack("<IBB", self.handle, mask, self.kind), value]
        parts += [struct.pack("<I", self.status)] * self.has_status
        parts += [struct.pack("<q", self.source)] * bool(self.times & SOURCE_TIME)
        parts += [struct.pack("<q", TICKS - 10 * self.handle)] * bool(self.times & SERVER_TIME)
        return b"".join(parts)


def message(items: Sequence[Item]) -> bytes:
    return of_raw_items(*(item.encoded() for item in items))


def same_items(number: int = FEW, turn: int = 0) -> list[Item]:
    return [Item(handle, source=TICKS + 10 * turn, value=turn) for handle in range(number)]


def decoded(data: bytes, layouts: ChangeLayouts | None = None) -> DataChanges:
    return publish_response(data, layouts).message.changes


def columns(changes: DataChanges) -> Any:
    """Return all that was sent, with the type of each value."""
    return (
        changes.handles, [(type(value), value) for value in changes.values], changes.statuses, changes.source_ticks,
        changes.server_ticks,
    )  # fmt: skip


ITEMS = st.lists(
    st.tuples(st.sampled_from([*NUMBERS]), st.integers(0, FEW + 4)).map(lambda one: Item(one[1], one[0])),
    min_size=FEW,
    max_size=FEW + 4,
)
CHANGES = st.sampled_from(
    [{}] * 8
    + [{"handle": 3}, {"kind": INT16}, {"kind": STRING}, {"times": SERVER_TIME}, {"times": SOURCE_TIME}]
    + [{"has_status": True}, {"has_status": True, "status": BAD_SENSOR}, {"source": 0}]
)


@given(
    ITEMS,
    st.fixed_dictionaries(
        {"has_status": st.booleans(), "times": st.sampled_from([SOURCE_TIME, SOURCE_TIME | SERVER_TIME])}
    ),
    st.data(),
)
def test_a_known_layout_changes_nothing_in_what_is_decoded(
    items: list[Item], usual: dict[str, Any], data: st.DataObject
) -> None:
    """Whatever a server sends between messages of one layout: other items, types, statuses, or no time."""
    layouts = ChangeLayouts()
    for turn in range(data.draw(st.integers(3, 8))):
        sent = [one._replace(value=turn + i, **usual) for i, one in enumerate(items)]
        place = data.draw(st.integers(0, len(sent) - 1))
        sent[place] = sent[place]._replace(**data.draw(CHANGES))
        assert columns(decoded(message(sent), layouts)) == columns(decoded(message(sent)))


@pytest.mark.parametrize(
    "change",
    [
        {}, {"kind": INT16}, {"kind": BOOL}, {"times": SOURCE_TIME}, {"has_status": True},
        {"has_status": True, "times": SOURCE_TIME},
    ],
)  # fmt: skip
def test_the_third_message_of_the_same_items_has_a_known_layout(change: dict[str, Any]) -> None:
    layouts = ChangeLayouts()
    found = [
        decoded(message([one._replace(**change) for one in same_items(turn=turn)]), layouts).layout
        for turn in range(4)
    ]
    assert found[:2] == [None, None]
    assert found[2] is not None
    assert found[3] is found[2]


def test_items_of_several_types_have_a_layout() -> None:
    layouts = ChangeLayouts()
    mixed = [one._replace(kind=kind) for one, kind in zip(same_items(), [*NUMBERS] * 2, strict=False)]
    for _ in range(3):
        changes = decoded(message(mixed), layouts)
    assert changes.layout is not None
    assert columns(changes) == columns(decoded(message(mixed)))


@pytest.mark.parametrize(
    "odd",
    [{"kind": STRING}, {"has_status": True, "status": BAD_SENSOR}, {"times": SERVER_TIME}, {"times": SOURCE_TIME}],
)
def test_a_message_with_an_odd_item_has_no_layout(odd: dict[str, Any]) -> None:
    """Its items are processed one by one: a text has any length, and a bad value needs a look."""
    layouts = ChangeLayouts()
    items = same_items()
    items[5] = items[5]._replace(**odd)
    assert [decoded(message(items), layouts).layout for _ in range(4)] == [None] * 4


def test_a_few_items_have_no_layout() -> None:
    layouts = ChangeLayouts()
    assert [decoded(message(same_items(FEW - 1)), layouts).layout for _ in range(4)] == [None] * 4


def test_a_layout_follows_items_that_change_for_good() -> None:
    """An engineer adds a point: the same number of items, later, has other handles."""
    layouts = ChangeLayouts()
    for _ in range(3):
        before = decoded(message(same_items()), layouts).layout
    others = [Item(0), *(Item(handle + 100) for handle in range(1, FEW))]
    found = [decoded(message(others), layouts).layout for _ in range(RETRY + 3)]
    assert found[:-1] == [None] * (RETRY + 2)
    assert found[-1] is not None
    assert found[-1] is not before
    assert found[-1].handles == [one.handle for one in others]


def test_a_server_can_not_fill_the_memory_with_layouts() -> None:
    layouts = ChangeLayouts()
    for number in range(FEW, FEW + 3 * MAX_LAYOUTS):
        for _ in range(3):
            decoded(message(same_items(number)), layouts)
    assert decoded(message(same_items()), layouts).layout is None, "it was forgotten for others"
    assert decoded(message(same_items(number)), layouts).layout is not None


def test_a_layout_stays_known_beside_messages_of_other_items() -> None:
    """In one subscription all items change each time, in another some of many."""
    layouts = ChangeLayouts()
    for _ in range(3):
        steady = decoded(message(same_items()), layouts).layout
    assert steady is not None
    for first in range(5 * MAX_LAYOUTS):
        decoded(message([Item(100 + first), *same_items()]), layouts)
        assert decoded(message(same_items()), layouts).layout is steady


def test_a_message_that_ends_within_its_items_is_refused_as_before() -> None:
    layouts = ChangeLayouts()
    whole = message(same_items())
    for _ in range(3):
        assert decoded(whole, layouts).handles
    with pytest.raises(DecodeError):
        decoded(whole[:-200], layouts)
    assert decoded(whole, layouts).layout is not None


def test_further_notifications_of_a_message_leave_the_layout_as_it_was() -> None:
    """All messages of a layout share its columns."""
    layouts = ChangeLayouts()
    for _ in range(3):
        known = decoded(message(same_items()), layouts).layout
    assert known is not None
    body = struct.pack("<i", FEW) + b"".join(item.encoded() for item in same_items()) + struct.pack("<i", 0)
    frame = b"\x01\x00" + struct.pack("<HBi", 811, 1, len(body)) + body
    changes = decoded(envelope(frame, frame), layouts)
    assert changes.layout is None
    assert changes.handles == [*range(FEW)] * 2
    assert known.handles == [*range(FEW)]
    assert known.nothing == [0] * FEW
    one, other = decoded(message(same_items()), layouts), decoded(message(same_items()), layouts)
    one.extend(other)
    assert (one.layout, len(one.handles), len(known.handles)) == (None, 2 * FEW, FEW)


# -- scans --


def group(first: int, number: int, **keys: Any) -> Group:
    connection = OpcUaConnection.from_url("opc.tcp://127.0.0.1", {"security": "none"})
    names = tuple(f"p{i}" for i in range(first, first + number))
    sources = tuple(OpcUaSource.model_validate({"node": f"s={name}"} | keys) for name in names)
    return Group("press", connection, names, sources, 1.0, pushed=True)


def builder(groups: Sequence[Group], latest: dict[Group, dict[int, int]]) -> ScanBuilder:
    """Return a builder whose items are those of each group in turn."""
    made = ScanBuilder(Counters(), latest)
    for position in range(max(len(one.names) for one in groups)):
        for one in groups:
            if position < len(one.names):
                made.add(one, position, ua.NodeId("any", 2))
    return made


def shown(scans: list[Scan]) -> Any:
    found = [
        (id(scan.group), scan.time, list(scan.values), list(scan.points or ()), scan.times, scan.late, scan.faults)
        for scan in scans
    ]
    return sorted(found, key=repr)


GROUPS = {
    "one group": [group(0, FEW)],
    "two groups": [group(0, FEW), group(FEW, 3)],
    "a point of its own clock": [group(0, FEW), group(FEW, 2, time="server")],
    "a group with one point": [group(0, FEW), group(FEW, 1)],
    "elements of arrays": [group(0, FEW, element=0)],
}


ODD: dict[str, dict[int, dict[str, Any]]] = {
    "as before": {},
    "bad": {1: {"has_status": True, "status": BAD_SENSOR}},
    "without time": {2: {"source": 0}},
    "double": {6: {"handle": 7}},
    "unknown": {8: {"handle": 998}},
}
"""The changes of items that differ in a message, by their places."""

STEPS = [*ODD, "other", "read before", "overtaken"]


@pytest.mark.parametrize("name", GROUPS)
@given(
    st.lists(st.sampled_from(STEPS), max_size=12),
    st.sampled_from([{}, {3: {"handle": 4}}, {5: {"handle": 999}}]),
    st.integers(0, 3),
)
def test_changes_of_a_known_layout_become_the_same_scans(
    name: str, story: list[str], usual: dict[int, dict[str, Any]], missed: int
) -> None:
    """Beside a builder that knows no layouts: the same scans, and the same newest times.

    `usual` are the odd items of all messages: none, an item twice, or an unknown item. The first messages may be
    missed.
    """
    groups = GROUPS[name]
    size = sum(len(one.names) for one in groups)
    layouts = ChangeLayouts()
    known, plain = ({one: {} for one in groups} for _ in range(2))
    fast, slow = builder(groups, known), builder(groups, plain)

    def both(step: str, data: bytes, now: int) -> None:
        found = [
            getattr(one, step)(changes, now)
            for one, changes in ((fast, decoded(data, layouts)), (slow, decoded(data)))
        ]
        assert shown(found[0]) == shown(found[1])
        assert known == plain

    for turn, step in enumerate(["as before"] * 4 + story):
        items = same_items(size, turn)
        for place, change in usual.items():
            items[place] = items[place]._replace(**change)
        if step == "read before":
            for one in (fast, slow):
                one.expect_again(decoded(message(items[4:9])))
        elif step == "overtaken":
            both("overtake", message(same_items(size, turn + 2)[9:12]), NOW + turn)
        elif step == "other":
            items = items[::-1]
        else:
            for place, change in ODD[step].items():
                items[place] = items[place]._replace(**change)
        if turn < missed:
            decoded(message(items), layouts)
        else:
            both("scans", message(items), NOW + turn)


def test_points_that_come_again_have_the_same_positions() -> None:
    """Later steps keep the tables that they compile for a part of a group by the identity of its positions."""
    groups = GROUPS["two groups"]
    layouts, made = ChangeLayouts(), builder(groups, {one: {} for one in groups})
    found = [
        [scan.points for scan in made.scans(decoded(message(same_items(FEW + 3, turn)), layouts), NOW + turn)]
        for turn in range(5)
    ]
    assert [type(points) for points in found[-1]] == [tuple, tuple]
    assert all(one is other for one, other in zip(found[-1], found[-2], strict=True))
    assert [list(points or ()) for points in found[-1]] == [list(points or ()) for points in found[0]]
