"""Type dictionaries of older servers are read as far as they are understood, and within bounds."""

from __future__ import annotations

import random
from dataclasses import fields, is_dataclass

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary
from opcua_fuzz import DICTIONARY, mutated

from drivers.opcua.codec.structures import Member, Structure, Structures
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
from simulators.opcua.standard_nodes import new_server

HEAD = (
    '<opc:TypeDictionary xmlns:opc="http://opcfoundation.org/BinarySchema/" xmlns:ua="http://opcfoundation.org/UA/" '
    'xmlns:tns="urn:x" TargetNamespace="urn:x" DefaultByteOrder="LittleEndian">'
)


def document(*fields: str, name: str = "T") -> bytes:
    """Return a dictionary with one structure of these fields."""
    inside = "".join(f"<opc:Field {field}/>" for field in fields)
    return f'{HEAD}<opc:StructuredType Name="{name}">{inside}</opc:StructuredType></opc:TypeDictionary>'.encode()


def test_a_dictionary_is_read() -> None:
    """Servers of Siemens, B&R and the OPC Foundation write dictionaries of this form."""
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
    """Its bytes would be read at the wrong places, and reported as good."""
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


S7 = f"""{HEAD}
 <opc:StructuredType BaseType="ua:ExtensionObject" Name="&quot;Press_1&quot;.&quot;Data&quot;">
  <opc:Field TypeName="opc:Int32" Name="Jobs_Size"/>
  <opc:Field TypeName="tns:&quot;Job:1&quot;" Name="Jobs" LengthField="Jobs_Size"/>
 </opc:StructuredType>
 <opc:StructuredType BaseType="ua:ExtensionObject" Name="&quot;Job:1&quot;">
  <opc:Field TypeName="opc:Bit" Name="ResultsSpecified"/>
  <opc:Field TypeName="opc:Bit" Name="Reserved1" Length="31"/>
  <opc:Field SwitchField="ResultsSpecified" TypeName="opc:Int32" Name="NoOfResults"/>
  <opc:Field LengthField="NoOfResults" SwitchField="ResultsSpecified" TypeName="ua:Variant" Name="Results"/>
 </opc:StructuredType>
</opc:TypeDictionary>""".encode()


def test_names_with_quotes_and_optional_arrays_are_read() -> None:
    """Siemens names types as the blocks of its programs; arrays may be optional."""
    found = read_dictionary(S7)
    assert found.left_out == {}
    [jobs] = found.structures['"Press_1"."Data"'].fields
    assert jobs == DescribedField("Jobs", TypeName("urn:x", '"Job:1"'), array=True)
    job = found.structures['"Job:1"']
    assert job.form is ua.StructureType.StructureWithOptionalFields
    assert job.fields == (DescribedField("Results", TypeName(STANDARD, "Variant"), array=True, optional=True),)


@pytest.mark.slow
async def test_the_dictionary_of_the_standard_describes_the_structures_of_the_standard() -> None:
    """Bytes that asyncua makes of them are read to their end: 300 structures of every kind."""
    server = new_server(None)
    await server.init()
    found = read_dictionary(await server.get_node(ua.ObjectIds.OpcUa_BinarySchema).read_value())
    assert {name for name in found.left_out if built_in(TypeName(STANDARD, name)) is None} == set()

    def kind(name: TypeName) -> int | ua.NodeId:
        standard = built_in(name)
        if standard is not None:
            return int(standard)
        enumeration = found.enumerations.get(name.name)
        return int(ua.VariantType[enumeration.type]) if enumeration else ua.NodeId(name.name, 1)

    def is_framed(name: str) -> bool:
        """Return True for a structure with structures of any type, which asyncua leaves out of an empty value."""
        inside = found.structures[name].fields if name in found.structures else ()
        return any(built_in(one.type) is ua.VariantType.ExtensionObject or is_framed(one.type.name) for one in inside)

    defined = {
        ua.NodeId(name, 1): Structure(
            one.form, tuple(Member(each.name, kind(each.type), int(each.array), each.optional) for each in one.fields)
        )
        for name, one in found.structures.items()
    }
    encodings = {ua.NodeId(name, 2): ua.NodeId(name, 1) for name in found.structures}
    read = 0
    for name, described in found.structures.items():
        cls, names = getattr(ua, name, None), [one.name for one in described.fields]
        # asyncua has other fields of messages, and takes a field of this name for a mask
        if not is_dataclass(cls) or [one.name for one in fields(cls)] != names or "Encoding" in names:
            continue
        if is_framed(name) or name == "LogRecord":  # of which asyncua has another edition
            continue
        try:
            body = struct_to_binary(cls())
        except Exception:  # noqa: BLE001, S112 - without values asyncua can't encode some
            continue
        decoded = Structures(defined, encodings).decoded(ua.ExtensionObject(ua.NodeId(name, 2), body))
        assert isinstance(decoded, dict)
        assert list(decoded) == names
        read += 1
    assert read > 100


def test_names_of_the_standard_are_built_in_types() -> None:
    """In both of its namespaces."""
    assert built_in(TypeName(BINARY, "CharArray")) is ua.VariantType.String
    assert built_in(TypeName(STANDARD, "LocalizedText")) is ua.VariantType.LocalizedText
    assert built_in(TypeName(STANDARD, "Range")) is None
    assert built_in(TypeName(BINARY, "Null")) is None
    assert built_in(TypeName("urn:x", "Int32")) is None
