"""Structures of a server's own are read as they are defined, and no further."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from asyncua import ua
from hypothesis import given
from hypothesis import strategies as st

from drivers.opcua.codec.structures import MAX_DEPTH, Member, Structure, Structures
from drivers.opcua.errors import DecodeError

K = ua.VariantType
PLAIN, OPTIONAL, UNION = (
    ua.StructureType.Structure,
    ua.StructureType.StructureWithOptionalFields,
    ua.StructureType.Union,
)
ENCODING, OUTER, INNER = ua.NodeId(5000, 2), ua.NodeId(3000, 2), ua.NodeId(3001, 2)


def decoded(body: bytes, outer: Structure, inner: Structure | None = None) -> Any:
    """Decode a structure, into which another may be put."""
    defined = {OUTER: outer} | ({INNER: inner} if inner is not None else {})
    found = Structures(defined, {ENCODING: OUTER}).decoded(ua.ExtensionObject(ENCODING, body))
    assert isinstance(found, dict)
    return found


def test_fields_are_read_in_their_order() -> None:
    """The structure has a number, a text, an array and an inner structure (Part 6, 5.2.6)."""
    inner = Structure(PLAIN, (Member("Low", K.Double), Member("High", K.Double)))
    outer = Structure(
        PLAIN,
        (Member("Name", K.String), Member("Steps", K.UInt16, 1), Member("Limits", INNER), Member("On", K.Boolean)),
    )
    body = struct.pack("<i2siHHddB", 2, b"B7", 2, 5, 6, 1.5, 2.5, 1)
    assert decoded(body, outer, inner) == {
        "Name": "B7",
        "Steps": [5, 6],
        "Limits": {"Low": 1.5, "High": 2.5},
        "On": True,
    }


@pytest.mark.parametrize(
    ("mask", "rest", "expected"),
    [
        (0, b"", {"X": 1, "A": None, "B": None}),
        (1, struct.pack("<h", 7), {"X": 1, "A": 7, "B": None}),
        (2, struct.pack("<d", 0.5), {"X": 1, "A": None, "B": 0.5}),
        (3, struct.pack("<hd", 7, 0.5), {"X": 1, "A": 7, "B": 0.5}),
    ],
)
def test_optional_fields_are_there_or_not(mask: int, rest: bytes, expected: dict[str, Any]) -> None:
    """Each has a bit, in the order in which they are defined (Part 6, 5.2.7)."""
    outer = Structure(
        OPTIONAL, (Member("X", K.Int32), Member("A", K.Int16, optional=True), Member("B", K.Double, optional=True))
    )
    assert decoded(struct.pack("<Ii", mask, 1) + rest, outer) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (struct.pack("<I", 0), {"A": None, "B": None}),
        (struct.pack("<Ih", 1, -3), {"A": -3, "B": None}),
        (struct.pack("<Id", 2, 0.5), {"A": None, "B": 0.5}),
    ],
)
def test_a_union_has_one_of_its_fields_or_none(body: bytes, expected: dict[str, Any]) -> None:
    """Its number says which (Part 6, 5.2.8)."""
    assert decoded(body, Structure(UNION, (Member("A", K.Int16), Member("B", K.Double)))) == expected


def test_an_array_of_several_dimensions_is_lists_in_lists() -> None:
    """Its sizes come before its elements (Part 6, 5.2.5)."""
    outer = Structure(PLAIN, (Member("Matrix", K.Byte, 2),))
    assert decoded(struct.pack("<iII6B", 2, 2, 3, *range(6)), outer) == {"Matrix": [[0, 1, 2], [3, 4, 5]]}
    assert decoded(struct.pack("<iII", 2, 3, 0), outer) == {"Matrix": []}


def test_structures_in_frames_are_read_as_well() -> None:
    """A field that may be a subtype is sent with its type."""
    frame = bytes([1, 2]) + struct.pack("<HBi", 5000, 1, 2) + struct.pack("<h", 9)
    outer, inner = Structure(PLAIN, (Member("Any", K.ExtensionObject),)), Structure(PLAIN, (Member("A", K.Int16),))
    structures = Structures({OUTER: outer, INNER: inner}, {ENCODING: INNER, ua.NodeId(5001, 2): OUTER})
    assert structures.decoded(ua.ExtensionObject(ua.NodeId(5001, 2), frame)) == {"Any": {"A": 9}}
    assert structures.decoded([ua.ExtensionObject(ENCODING, b"\1\0")]) == [{"A": 1}]


@pytest.mark.parametrize("value", [5, "text", None, ua.Range(0, 1), ua.ExtensionObject(ua.NodeId(1, 9), b"\1")])
def test_anything_else_stays_as_it_is(value: object) -> None:
    """This covers other values, structures that are already decoded, and structures without a definition."""
    assert Structures({}, {}).decoded(value) is value


BROKEN = {
    "too short": (b"\1", (Member("A", K.Int32),)),
    "too long": (b"\1\0\0\0\0", (Member("A", K.Int32),)),
    "more elements than bytes": (struct.pack("<i", 2**31 - 1), (Member("A", K.Byte, 1),)),
    "a matrix of more elements than bytes": (struct.pack("<iII", 2, 2**31, 2**31), (Member("A", K.Byte, 2),)),
    "more dimensions than anybody has": (struct.pack("<i99I", 99, *[1] * 99) + b"\1", (Member("A", K.Byte, 2),)),
    "a type that is not defined": (b"\1", (Member("A", ua.NodeId(77, 2)),)),
    "a negative length of a text": (struct.pack("<i", -5), (Member("A", K.String),)),
}


@pytest.mark.parametrize(("body", "members"), BROKEN.values(), ids=BROKEN)
def test_a_body_that_does_not_match_its_definition_is_refused(body: bytes, members: tuple[Member, ...]) -> None:
    """A field that is read from the wrong place would be a wrong value, reported as good."""
    with pytest.raises(DecodeError):
        decoded(body, Structure(PLAIN, members))


@pytest.mark.parametrize(("form", "number"), [(OPTIONAL, 2), (UNION, 2)])
def test_a_field_that_does_not_exist_is_refused(form: ua.StructureType, number: int) -> None:
    """The server has another edition of the type than it says."""
    with pytest.raises(DecodeError):
        decoded(struct.pack("<I", number), Structure(form, (Member("A", K.Byte, optional=True),)))


def test_a_structure_that_contains_itself_ends() -> None:
    """A definition may refer to itself, but a message is finite."""
    outer = Structure(PLAIN, (Member("Inside", OUTER, 1),))
    assert decoded(struct.pack("<iii", 1, 1, 0), outer) == {"Inside": [{"Inside": [{"Inside": []}]}]}
    with pytest.raises(DecodeError, match="nested"):
        decoded(struct.pack(f"<{MAX_DEPTH + 1}i", *[1] * MAX_DEPTH, 0), outer)


@given(st.binary(max_size=60), st.sampled_from([PLAIN, OPTIONAL, UNION]))
def test_any_bytes_are_read_or_refused(body: bytes, form: ua.StructureType) -> None:
    """Nothing else comes out, whatever a server sends."""
    members = tuple(
        Member(f"{kind.name}{rank}", kind, rank, optional=True)
        for kind in (K.String, K.Variant, K.ExtensionObject, K.Int16, K.LocalizedText, K.DateTime)
        for rank in (0, 1, 2)
    )
    try:
        found = decoded(body, Structure(form, (*members, Member("Self", OUTER, 1, optional=True))))
    except DecodeError:
        return
    assert "Self" in found
