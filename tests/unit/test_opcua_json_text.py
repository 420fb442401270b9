"""Any value of OPC UA becomes one JSON text: the same for equal values, bounded, and without invented parts."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from asyncua import ua
from hypothesis import given
from hypothesis import strategies as st
from opcua_messages import NODES, SCALARS, STRUCTURES, TEXTS

from drivers.base import Group, Reason, ValueType
from drivers.opcua.codec.json_text import MAX_BYTES, MAX_DEPTH, json_text
from drivers.opcua.codec.structures import Member, Structure, Structures
from drivers.opcua.codec.texts import EnumerationValue, Unfit
from drivers.opcua.codec.values import point_reading, reading
from drivers.opcua.settings import OpcUaConnection, OpcUaSource

K = ua.VariantType
TYPE, ENCODING = ua.NodeId(3000, 2), ua.NodeId(5000, 2)

FORMS: list[tuple[Any, str]] = [
    (True, "true"),
    (-(2**63), "-9223372036854775808"),
    (2**64 - 1, "18446744073709551615"),
    (0.1, "0.1"),
    (math.nan, '"NaN"'),
    (math.inf, '"Infinity"'),
    (-math.inf, '"-Infinity"'),
    ('say "so"', '"say \\"so\\""'),
    (b"\x00\xff\x10", '"AP8Q"'),
    (b"", '""'),
    (datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC), '"2026-01-02T03:04:05.678000Z"'),
    (UUID("72962b91-fa75-4ae6-8d28-b404dc7daf63"), '"72962b91-fa75-4ae6-8d28-b404dc7daf63"'),
    (ua.LocalizedText("Trommel", "de"), '"Trommel"'),
    (ua.QualifiedName("Drum", 1), '"Drum"'),
    (ua.NodeId("Press", 1), '"ns=1;s=Press"'),
    (ua.StatusCode(ua.StatusCodes.BadOutOfService), '"BadOutOfService"'),
    ([], "[]"),
    ([1, 2, 3], "[1,2,3]"),
    ([[1.5, math.nan], [2.5, 3.5]], '[[1.5,"NaN"],[2.5,3.5]]'),
    ([None, "a"], '[null,"a"]'),
    ([ua.Variant(1), ua.DataValue(ua.Variant([2.5]))], "[1,[2.5]]"),
    (ua.Range(0, 100), '{"Low":0,"High":100}'),
    ({"Z": 1, "A": {"B": [True]}}, '{"Z":1,"A":{"B":[true]}}'),
    ({"sent": 1, "not sent": None}, '{"sent":1}'),
    ("\udce4", '"ä"'),  # Latin-1 of an old server
]


@pytest.mark.parametrize(("value", "text"), FORMS)
def test_every_type_has_its_form(value: Any, text: str) -> None:
    """Those of OPC 10000-6, 5.4.2, or of readings."""
    assert json_text(value) == text
    json.loads(text)


def test_names_replace_the_numbers_of_enumerations_alone() -> None:
    """In arrays of them, and in structures, where other numbers stay numbers."""
    names = {0: "stopped", 4: "running"}
    assert json_text([0, 4, 9], names) == '["stopped","running",9]'
    inside = {"State": EnumerationValue.of(4, names), "Count": 4, "Odd": EnumerationValue.of(5, names)}
    assert json_text(inside, {}) == '{"State":"running","Count":4,"Odd":5}'
    assert json_text(inside) == '{"State":4,"Count":4,"Odd":5}'
    assert json_text(ua.ServerState.Suspended, {}) == '"Suspended"'


@pytest.mark.parametrize("value", [None, ua.ExtensionObject(ENCODING, b"\1"), ua.ExtensionObject(), {"a": object()}])
def test_a_value_without_a_form_is_refused(value: Any) -> None:
    """Otherwise an invented value would be reported as good."""
    with pytest.raises(Unfit) as caught:
        json_text(value)
    assert caught.value.fault.reason is Reason.TYPE_MISMATCH


@pytest.mark.slow
def test_a_long_text_is_refused_with_its_size() -> None:
    """A store would cut it, or refuse the record that it is in."""
    assert len(json_text("x" * (MAX_BYTES - 2))) == MAX_BYTES
    for value in ("x" * (MAX_BYTES - 1), [0] * MAX_BYTES, [[0] * 1000] * 1000, ["x" * 1000] * 100):
        with pytest.raises(Unfit) as caught:
            json_text(value)
        assert caught.value.fault.reason is Reason.OVERFLOW


def test_a_deep_value_is_refused() -> None:
    """A text of brackets alone helps nobody, and the encoder would raise."""
    value: Any = 1
    for _ in range(MAX_DEPTH - 1):
        value = [value]
    assert json_text(value).startswith("[[[")
    with pytest.raises(Unfit):
        json_text([value])


values = st.recursive(
    st.one_of(*SCALARS.values(), STRUCTURES, NODES),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)


@given(values)
def test_whatever_a_server_sends_is_json_or_refused(value: Any) -> None:
    """Twice the same."""
    try:
        text = json_text(value)
    except Unfit:
        return
    json.loads(text)
    text.encode()
    assert json_text(value) == text


def test_a_structure_of_the_servers_own_is_one_value() -> None:
    """A field that is a structure or an array is one JSON value, too."""
    limits = ua.NodeId(3001, 2)
    structures = Structures(
        {
            TYPE: Structure(ua.StructureType.Structure, (Member("Steps", K.Int16, 1), Member("Limits", limits))),
            limits: Structure(ua.StructureType.Structure, (Member("Low", K.Byte), Member("High", K.Byte))),
        },
        {ENCODING: TYPE},
    )
    body = ua.ExtensionObject(ENCODING, b"\2\0\0\0\5\0\6\0\1\2")
    variant = ua.Variant(body, K.ExtensionObject)
    for field, text in {
        (): '{"Steps":[5,6],"Limits":{"Low":1,"High":2}}',
        ("Limits",): '{"Low":1,"High":2}',
        ("Steps",): "[5,6]",
        ("Limits", "Low"): "1",
    }.items():
        assert reading(body, 0, variant, field, None, structures, json=True) == (text, None)
    assert reading([body, body], 0, variant, ("Steps",), 1, structures, json=True) == ("[5,6]", None)


def test_a_bad_status_has_no_json() -> None:
    """A bad reading has no value of any type."""
    value, fault = reading([1, 2], 0x808C0000, None, json=True)
    assert value is None
    assert fault is not None
    assert fault.code == "0x808C0000 BadSensorFailure"


def test_points_say_which_form_they_have() -> None:
    """The group knows the types, the source the names."""
    connection = OpcUaConnection.from_url("opc.tcp://plc:4840", {})
    sources = tuple(OpcUaSource.model_validate({"node": "s=A", "enum": form}) for form in ("number", "name", "name"))
    group = Group(
        "press", connection, ("a", "b", "c"), sources, 1.0, types=(ValueType.INT, ValueType.STRING, ValueType.JSON)
    )
    names = {4: "running"}
    structures = Structures({}, {}, {(group, 1): names, (group, 2): names})
    found = [point_reading(group, place, 4, 0, None, structures)[0] for place in range(3)]
    assert found == [4, "running", '"running"']
    value, fault = point_reading(group, 1, 9, 0, None, structures)
    assert value is None
    assert fault is not None
    assert (fault.reason, fault.code) == (Reason.OUT_OF_RANGE, "9 has no name")
    assert point_reading(group, 1, "running", 0, None, structures) == ("running", None)
    _, fault = point_reading(group, 1, 1.5, 0, None, structures)
    assert fault is not None
    assert fault.reason is Reason.TYPE_MISMATCH
