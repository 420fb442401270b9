"""Reads a type dictionary in OPC Binary (Part 3, Annex C of editions before 1.04): structures of older servers. Pure.

A dictionary is an XML document that describes the encoding of structures, field by field. It has more possibilities
than a StructureDefinition (Part 3, 8.48). Those that the encodings of Part 6, 5.2.6 to 5.2.8 use are translated:
arrays with a field for their length, optional fields with a mask of 32 bits before all fields, and unions with a
number before all fields. A structure with anything else is left out, with the reason.

The document comes from a server, so its size and its numbers of types and fields are bounded, and a document type
declaration, which could define entities, is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple
from xml.parsers import expat

from asyncua import ua

from drivers.opcua.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_BYTES = 4 * 2**20
"""Bytes of a document; the dictionary of the standard has 200 KiB."""

MAX_TYPES = 5000
"""Types of a dictionary."""

MAX_FIELDS = 1000
"""Fields of a structure, or values of an enumeration."""

MAX_LEVELS = 10
"""Levels of elements; a dictionary has four."""

MAX_NAME = 512
"""Characters of a name."""

BINARY, STANDARD = "http://opcfoundation.org/BinarySchema/", "http://opcfoundation.org/UA/"
"""The namespaces of the primitive types, and of the types of the standard."""

_MASK_BITS = 32
_INTEGERS = {8: "Byte", 16: "UInt16", 32: "Int32", 64: "Int64"}
"""The built-in types that have the size of an enumeration in bits."""

_TYPES, _STRUCTURE, _ENUMERATION, _FIELD, _VALUE = (
    f"{BINARY} {name}" for name in ("TypeDictionary", "StructuredType", "EnumeratedType", "Field", "EnumeratedValue")
)


class TypeName(NamedTuple):
    """The name of a type, with the URI of its dictionary."""

    uri: str
    name: str


class DescribedField(NamedTuple):
    """A field of a structure; `array` is True for an array of one dimension."""

    name: str
    type: TypeName
    array: bool = False
    optional: bool = False


class DescribedStructure(NamedTuple):
    """A structure in the terms of a StructureDefinition."""

    form: ua.StructureType
    fields: tuple[DescribedField, ...]


class DescribedEnumeration(NamedTuple):
    """An enumeration: the built-in type of its numbers, and their names."""

    type: str
    names: dict[int, str]


@dataclass(slots=True)
class TypeDictionary:
    """The types of one dictionary by name; `left_out` are the structures that can't be read, with the reasons."""

    uri: str = ""
    structures: dict[str, DescribedStructure] = field(default_factory=dict)
    enumerations: dict[str, DescribedEnumeration] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def read_dictionary(document: bytes) -> TypeDictionary:
    """Read a dictionary. Raises `DecodeError` if it is not one, or exceeds the bounds."""
    if len(document) > MAX_BYTES:
        raise DecodeError(f"a type dictionary of {len(document)} bytes; at most {MAX_BYTES} are read")
    reader = _Reader()
    try:
        reader.parser.Parse(document.rstrip(b"\0"), True)  # noqa: FBT003 - expat takes no keywords
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise DecodeError(f"a type dictionary that is not XML: {error}") from error
    return reader.found


def built_in(name: TypeName) -> ua.VariantType | None:
    """Return the built-in type of a name of the standard; None for another type."""
    if name.uri not in {BINARY, STANDARD} or name.name == "Null":
        return None
    return ua.VariantType.__members__.get("String" if name.name == "CharArray" else name.name)


class _Reader:
    """The handlers of the parser."""

    def __init__(self) -> None:
        self.found = TypeDictionary()
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.StartNamespaceDeclHandler = self._namespace
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self._uris: dict[str, str] = {}
        self._level = self._types = 0
        self._name = ""
        self._fields: list[dict[str, str]] = []
        self._values: dict[int, str] = {}

    def _doctype(self, *_: object) -> None:
        raise DecodeError("a type dictionary with a document type declaration")

    def _namespace(self, prefix: str | None, uri: str | None) -> None:
        if len(self._uris) < MAX_FIELDS:
            self._uris[prefix or ""] = uri or ""

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._level += 1
        if self._level > MAX_LEVELS:
            raise DecodeError(f"a type dictionary of more than {MAX_LEVELS} levels")
        if self._level == 1:
            if tag != _TYPES:
                raise DecodeError(f"a type dictionary that begins with {tag!r:.80}")
            self.found.uri = attributes.get("TargetNamespace", "")
        elif tag in {_STRUCTURE, _ENUMERATION}:
            self._name, self._fields, self._values = attributes.get("Name", "")[:MAX_NAME], [], {}
        elif tag == _FIELD:
            self._fields.append(attributes)
        elif tag == _VALUE:
            self._values[_whole(attributes, "Value", 0)] = attributes.get("Name", "")[:MAX_NAME]
        if max(len(self._fields), len(self._values)) > MAX_FIELDS:
            raise DecodeError(f"a type of more than {MAX_FIELDS} fields in a type dictionary")
        if tag == _ENUMERATION:
            self._enumeration(_whole(attributes, "LengthInBits", _MASK_BITS))

    def _enumeration(self, bits: int) -> None:
        if bits in _INTEGERS:
            self._count()
            self.found.enumerations[self._name] = DescribedEnumeration(_INTEGERS[bits], self._values)

    def _end(self, tag: str) -> None:
        self._level -= 1
        if tag != _STRUCTURE:
            return
        self._count()
        try:
            self.found.structures[self._name] = _structure(self._fields, self._type_name)
        except _LeftOut as error:
            self.found.left_out[self._name] = str(error)

    def _count(self) -> None:
        self._types += 1
        if self._types > MAX_TYPES:
            raise DecodeError(f"a type dictionary of more than {MAX_TYPES} types")

    def _type_name(self, written: str) -> TypeName:
        prefix, colon, name = written.partition(":")  # Siemens writes quotes, dots and maybe colons in names
        if not colon:
            return TypeName(self._uris.get("", self.found.uri), written)
        if prefix not in self._uris:
            raise _LeftOut(f"the namespace of {written!r:.80} is not declared")
        return TypeName(self._uris[prefix], name)


class _LeftOut(Exception):
    """A structure that can't be translated."""


def _whole(attributes: dict[str, str], key: str, default: int) -> int:
    written = attributes.get(key)
    if written is None:
        return default
    if len(written) > 20:  # noqa: PLR2004 - a sign and the digits of 64 bits
        raise DecodeError(f"a type dictionary with {key} of {written!r:.40}")
    try:
        return int(written)
    except ValueError:
        raise DecodeError(f"a type dictionary with {key} of {written!r:.40}") from None


def _structure(fields: list[dict[str, str]], type_name: Callable[[str], TypeName]) -> DescribedStructure:
    """Translate the fields of a structure as they are written."""
    lengths = {written for one in fields if (written := one.get("LengthField"))}
    switches = {written for one in fields if (written := one.get("SwitchField"))}
    bits: list[str] = []
    number_of_bits = 0
    found: list[DescribedField] = []
    selector = ""
    for place, one in enumerate(fields):
        name, type_ = one.get("Name", "")[:MAX_NAME], type_name(one.get("TypeName", ""))
        if type_ == (BINARY, "Bit"):
            if found or selector:
                raise _LeftOut(f"it has the bit {name} behind other fields")
            number_of_bits += _whole(one, "Length", 1)
            bits.append(name)
        elif name in lengths:
            if type_ != (BINARY, "Int32"):
                raise _LeftOut(f"the length {name} is not an Int32")
        elif name in switches:
            if place or type_ != (BINARY, "UInt32"):
                raise _LeftOut(f"{name} selects fields and is not a UInt32 before all fields")
            selector = name
        else:
            found.append(_field(one, name, type_))
    if number_of_bits not in {0, _MASK_BITS}:
        raise _LeftOut(f"it begins with {number_of_bits} bits, not with {_MASK_BITS}")
    rest = [one for one in fields if one.get("Name") not in lengths | switches | {*bits}]
    _check_switches(rest, [bit for bit in bits if bit in switches], bits, selector)
    form = ua.StructureType.Union if selector else ua.StructureType.Structure
    return DescribedStructure(ua.StructureType.StructureWithOptionalFields if bits else form, tuple(found))


def _field(one: dict[str, str], name: str, type_: TypeName) -> DescribedField:
    if type_.uri == BINARY and built_in(type_) is None:
        raise _LeftOut(f"its field {name} has the type {type_.name}")
    if "Length" in one or "Terminator" in one or one.get("IsLengthInBytes", "false").lower() == "true":
        raise _LeftOut(f"the length of its field {name} is written in a way that is not read")
    return DescribedField(name, type_, "LengthField" in one, "SwitchField" in one)


def _check_switches(fields: list[dict[str, str]], used: list[str], bits: list[str], selector: str) -> None:
    """Check that masks and unions are those of Part 6, 5.2.7 and 5.2.8. Raises `_LeftOut`."""
    switched = [one for one in fields if "SwitchField" in one]
    if any(one.get("SwitchOperand", "Equals") != "Equals" for one in switched):
        raise _LeftOut("it selects fields by other comparisons than equality")
    if selector:
        if len(switched) != len(fields) or [_whole(one, "SwitchValue", 1) for one in fields] != [
            *range(1, len(fields) + 1)
        ]:
            raise _LeftOut("its fields are not selected by the numbers from 1")
        return
    if [one["SwitchField"] for one in switched] != used or bits[: len(used)] != used:
        raise _LeftOut("its optional fields are not in the order of their bits")
