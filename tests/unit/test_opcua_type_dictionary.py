"""Type dictionaries of older servers are read as far as they are understood, and within bounds."""

from __future__ import annotations

import random

import pytest
from asyncua import ua
from opcua_fuzz import DICTIONARY, mutated

from drivers.opcua.codec.type_dictionary import (
    BINARY,
    MAX_BYTES,
    STANDARD,
    DescribedEnumeration,
    DescribedField,
    TypeName,
    built_in,
    read_dictionary,
)
from drivers.opcua.errors import DecodeError

HEAD = (
    '<opc:TypeDictionary xmlns:opc="http://opcfoundation.org/BinarySchema/" xmlns:ua="http://opcfoundation.org/UA/" '
    'xmlns:tns="urn:x" TargetNamespace="urn:x" DefaultByteOrder="LittleEndian">'
)


def document(*fields: str, name: str = "T") -> bytes:
    """Return a dictionary with one structure of these fields."""
    inside = "".join(f"<opc:Field {field}/>" for field in fields)
    return f'{HEAD}<opc:StructuredType Name="{name}">{inside}</opc:StructuredType></opc:TypeDictionary>'.encode()


def test_a_dictionary_is_read() -> None:
    """As Siemens, B&R and the stacks of the OPC Foundation write them."""
    found = read_dictionary(DICTIONARY)
    assert found.uri == "urn:test:dictionary"
    assert found.enumerations == {"Mode": DescribedEnumeration("Int32", {0: "Manual", 1: "Automatic"})}
    recipe = found.structures["Recipe"]
    assert recipe.form is ua.StructureType.Structure
    assert recipe.fields == (
        DescribedField("Name", TypeName(BINARY, "CharArray")),
        DescribedField("Steps", TypeName(BINARY, "Double"), array=True),
        DescribedField("Mode", TypeName("urn:test:dictionary", "Mode")),
        DescribedField("Limits", TypeName("urn:test:dictionary", "Limits")),
    )
    assert found.structures["Optional"].form is ua.StructureType.StructureWithOptionalFields
    assert [(one.name, one.optional) for one in found.structures["Optional"].fields] == [
        ("Always", False),
        ("Sometimes", True),
    ]
    assert found.structures["Either"].form is ua.StructureType.Union
    assert found.left_out == {}


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        (('Name="A" TypeName="opc:Byte" Length="16"',), "the length of its field A"),
        (('Name="A" TypeName="opc:WideString"',), "its field A has the type WideString"),
        (('Name="N" TypeName="opc:Byte"', 'Name="A" TypeName="opc:Byte" LengthField="N"'), "N is not an Int32"),
        (('Name="B" TypeName="opc:Bit"', 'Name="A" TypeName="opc:Byte"'), "begins with 1 bits"),
        (('Name="A" TypeName="opc:Byte"', 'Name="B" TypeName="opc:Bit" Length="32"'), "the bit B behind"),
        (('Name="S" TypeName="opc:UInt32"', 'Name="A" TypeName="opc:Byte" SwitchField="S" SwitchValue="2"'),
         "not selected by the numbers"),
        (('Name="S" TypeName="opc:Byte"', 'Name="A" TypeName="opc:Byte" SwitchField="S"'), "not a UInt32"),
        (('Name="A" TypeName="other:Byte"',), "is not declared"),
    ],
)  # fmt: skip
def test_an_encoding_that_is_not_understood_is_left_out(fields: tuple[str, ...], why: str) -> None:
    """Its bytes would be read at the wrong places, and told as good."""
    found = read_dictionary(document(*fields))
    assert found.structures == {}
    assert why in found.left_out["T"]


BOMB = b'<!DOCTYPE a [<!ENTITY b "b"><!ENTITY c "&b;&b;&b;&b;">]><a>&c;</a>'


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (b"", "not XML"),
        (b"<a/>", "begins with"),
        (b"\xff\xfe\0", "not XML"),
        (BOMB, "document type declaration"),
        (b"<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>", "document type declaration"),
        (b" " * (MAX_BYTES + 1), "at most"),
        ((HEAD + "<a>" * 50).encode(), "levels"),
        (document(*['Name="A" TypeName="opc:Byte"'] * 1001), "more than 1000 fields"),
        ((HEAD + '<opc:EnumeratedType Name="E" LengthInBits="' + "9" * 5000 + '"/>').encode(), "LengthInBits"),
        ((HEAD + '<opc:StructuredType Name="E"/>' * 5001).encode(), "more than 5000 types"),
        (b'<?xml version="1.0" encoding="klingon"?><a/>', "not XML"),
    ],
)
def test_a_hostile_document_is_refused(wrong: bytes, why: str) -> None:
    """Before it costs memory or time."""
    with pytest.raises(DecodeError, match=why):
        read_dictionary(wrong)


def test_no_mutated_document_escapes() -> None:
    """A short, seeded run; `benchmarks/fuzz_opcua.py` goes on for hours."""
    rng = random.Random(1)  # noqa: S311 - seeded, and no secret
    refused = 0
    for _ in range(3000):
        try:
            read_dictionary(mutated(rng, DICTIONARY))
        except DecodeError:
            refused += 1
    assert 0 < refused < 3000


def test_names_of_the_standard_are_built_in_types() -> None:
    """In both of its namespaces."""
    assert built_in(TypeName(BINARY, "CharArray")) is ua.VariantType.String
    assert built_in(TypeName(STANDARD, "LocalizedText")) is ua.VariantType.LocalizedText
    assert built_in(TypeName(STANDARD, "Range")) is None
    assert built_in(TypeName(BINARY, "Null")) is None
    assert built_in(TypeName("urn:x", "Int32")) is None
