"""Device profiles and devices of EdgeX Foundry, for its device services for Modbus and OPC UA, in YAML or JSON.

A profile becomes a template, a device a machine. A file can have both, as several documents (`---`) or as a list.
Addresses count from 0; in profiles of EdgeX 1, which have `properties.value`, from 1. Only numbers of 32 bits can be
swapped there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel, to_pascal

from gateway.importers.base import Format
from gateway.importers.foreign import Foreign, Part, json_part, looks_like_json, note_yaml, yaml_part
from gateway.importers.found import Found, Import, Options, Row, free_name
from gateway.importers.modbus_keys import (
    Keys,
    SerialLine,
    every,
    network_url,
    raw_keys,
    scaled,
    serial_keys,
    share_options,
    timeout,
)
from gateway.importers.opcua_keys import TYPES, endpoint
from gateway.importers.telegraf_common import seconds
from gateway.settings.serialize import number

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from gateway.importers.content import Content

TABLES = {
    "HOLDING_REGISTERS": "holding", "INPUT_REGISTERS": "input", "COILS": "coil", "DISCRETES_INPUT": "discrete",
    "DISCRETE_INPUTS": "discrete",
}  # fmt: skip

RAW = frozenset({"int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"})

PROTOCOLS = {"modbus-tcp": "modbus+tcp", "modbus-rtu": "modbus+rtu", "modbus-ascii": "modbus+ascii"}
"""Schemes of the protocols of a device."""

REGISTER_BITS = 16


class Camel(Foreign):
    """Keys in camelCase."""

    model_config = ConfigDict(alias_generator=to_camel)


class Resource(Camel):
    """A value of a profile."""

    apart: ClassVar[Container[str]] = {"attributes", "properties", "isHidden", "tag", "tags", "isHiddenString"}

    name: str
    description: str = ""


class Attributes(Camel):
    """Where a value is: a table and a register, or a node."""

    apart: ClassVar[Container[str]] = {"inputIndex", "methodId", "objectId"}

    primary_table: str = ""
    starting_address: int | float | str | None = None
    raw_type: str = ""
    is_byte_swap: bool = False
    is_word_swap: bool = False
    string_register_size: Annotated[int | None, Field(ge=1, le=125)] = None
    node_id: str = ""


class Properties(Camel):
    """The type of a value, and its conversion."""

    apart: ClassVar[Container[str]] = {
        "minimum", "maximum", "defaultValue", "assertion", "mediaType", "floatEncoding", "precision", "size",
        "optional",
    }  # fmt: skip

    value_type: str = ""
    read_write: str = "RW"
    units: str = ""
    scale: float | None = None
    offset: float | None = None
    base: float | None = None
    mask: int | None = None
    shift: int | None = None


class Device(Camel):
    """A device."""

    apart: ClassVar[Container[str]] = {
        "protocols", "autoEvents", "description", "labels", "adminState", "operatingState", "serviceName", "tags",
        "location", "apiVersion", "id", "created", "modified", "parent", "notify", "lastConnected", "lastReported",
        "properties",
    }  # fmt: skip

    name: str
    profile_name: str = ""


class Protocol(Foreign):
    """The address of a Modbus device."""

    model_config = ConfigDict(alias_generator=to_pascal)
    apart: ClassVar[Container[str]] = {
        "IdleTimeout", "LinkRecoveryTimeout", "ProtocolRecoveryTimeout", "Timeout", "ConnectDelay",
    }  # fmt: skip

    address: str
    port: str = "502"
    unit_id: Annotated[int, Field(ge=0, le=255, alias="UnitID")] = 1
    baud_rate: int = 19200
    data_bits: int = 8
    stop_bits: float = 1
    parity: str = "N"


class AutoEvent(Camel):
    """How often a resource, or a command, is read."""

    apart: ClassVar[Container[str]] = {"retention"}

    source_name: str = ""
    resource: str = ""
    interval: str = ""
    frequency: str = ""
    on_change: bool = False
    on_change_threshold: float | None = None


class Profile(NamedTuple):
    """A profile: its values, and the resources that each of its commands reads."""

    name: str
    points: dict[str, Row]
    commands: dict[str, list[str]]


def read(content: Content, options: Options) -> Import:
    """Return the machines of a file. Raises `ValueError` for profiles without a device and a connection."""
    found = Import()
    wholes = _documents(content)
    for whole in wholes:
        note_yaml(whole, found)
    profiles = {one.name: one for whole in wholes for part in _parts(whole) for one in _profiles(part, found)}
    devices = [device for whole in wholes for part in _parts(whole) for device in _devices(part, found)]
    for device in devices:
        _add_device(device, profiles, options, found)
    if not devices:
        if not options.connection:
            raise ValueError(
                "a device profile names no device; say --connection, as in modbus+tcp://10.20.1.11:502?unit=1"
            )
        for profile in profiles.values():
            name = free_name(options.machine or profile.name)
            protocol = "opcua" if options.connection.startswith("opc.") else "modbus"
            machine = Found(name, profile.name, protocol, options.connection, options.area, options.line)
            _add_points(machine, profile, {}, found)
            found.machines.append(machine)
    elif not profiles:
        names = ", ".join(sorted({device.at("profileName").data or "?" for device in devices}))[:200]
        raise ValueError(f"it has devices and no profile; write the profile ({names}) into the same file, behind ---")
    share_options(found.machines, found)
    return found


def _documents(content: Content) -> list[Part]:
    """Return the documents of a file: of YAML there can be several. Lines are those of the file."""
    if looks_like_json(content):
        return [json_part(content)]
    documents, above = [], 0
    for text in re.split(r"(?m)^---[ \t]*(?:#.*)?$", content.text):
        if text.strip():
            documents.append(yaml_part("\n" * above + text))
        above += text.count("\n")
    return documents


def _parts(whole: Part) -> Iterator[Part]:
    """Yield the parts that are a profile, or contain one, or devices."""
    for part in whole.entries():
        yield part
        for key in ("profile", "device"):
            if isinstance(part.at(key).data, dict):
                yield part.at(key)
        for key in ("profiles", "devices"):
            if isinstance(part.at(key).data, list):
                yield from part.at(key).entries()


def _profiles(part: Part, found: Import) -> Iterator[Profile]:
    if part.at("deviceResources").data is None:
        return
    name = str(part.at("name").data or "profile")[:100]
    points: dict[str, Row] = {}
    for one in part.find("deviceResources", found, name):
        resource = one.read(Resource, found, name)
        if resource is None:
            continue
        what = f"{name}/{resource.name[:100]}"
        try:
            keys = _point(one, what, found)
        except ValueError as error:
            found.note(one.where, what, f"is left out: {error}")
            continue
        if keys is not None:
            described = {"description": resource.description} if resource.description else {}
            points[resource.name] = Row(one.where, keys | described)
    yield Profile(name, points, _commands(part, found, name))


def _commands(part: Part, found: Import, name: str) -> dict[str, list[str]]:
    """Return the resources that each command reads."""
    commands: dict[str, list[str]] = {}
    for key, inner in ("deviceCommands", "resourceOperations"), ("deviceCommands", "get"):
        for one in part.find(key, found, name):
            operations = one.at(inner).entries() if isinstance(one.at(inner).data, list) else []
            read = [str(operation.at("deviceResource").data) for operation in operations]
            commands.setdefault(str(one.at("name").data), []).extend(read)
    return commands


def _point(part: Part, what: str, found: Import) -> Keys | None:
    """Return the keys of a resource, None after noting each wrong value. Raises `ValueError`."""
    attributes = part.at("attributes").read(Attributes, found, what)
    inner = part.at("properties", "value")
    first_version = isinstance(inner.data, dict)
    written = inner if first_version else part.at("properties")
    data = written.data if isinstance(written.data, dict) else {}
    if first_version:
        units = part.at("properties", "units", "defaultValue").data
        data = {"valueType": data.get("type", ""), "units": units or ""} | data
        written = Part({key: value for key, value in data.items() if key != "type"}, inner.path, inner.document)
    properties = written.read(Properties, found, what)
    if attributes is None or properties is None:
        return None
    if properties.read_write.upper() == "W":
        raise ValueError("it is only written to")
    unit = found.unit(part.at("properties").where, what, properties.units)
    if attributes.node_id:
        kind = TYPES.get(properties.value_type.lower())
        if kind is None:
            raise ValueError(f"the valueType {properties.value_type[:40]!r} is not translated")
        numeric = kind in {"int", "float"}
        return {"node": attributes.node_id, "type": kind} | (_scale(properties) | unit if numeric else {})
    keys = _register(attributes, properties, base=1 if first_version else 0)
    return keys | unit if _is_number(Row(part.where, keys)) else keys


def _register(attributes: Attributes, properties: Properties, base: int) -> Keys:
    """Return the keys of a value in a table of Modbus. Raises `ValueError`."""
    table = TABLES.get(attributes.primary_table.upper())
    if table is None:
        raise ValueError(f"the primaryTable {attributes.primary_table[:40]!r} is not known")
    register, bit = _address(attributes.starting_address)
    if register < base:
        raise ValueError(f"the startingAddress {register} is below {base}, the first in this version of EdgeX")
    keys: Keys = {"address": f"{table} {register - base}"}
    kind = properties.value_type.lower()
    if table in {"coil", "discrete"}:
        if kind != "bool":
            raise ValueError(f"the valueType {properties.value_type[:40]!r} of a coil or discrete input is not Bool")
        return keys
    if kind == "bool":
        if bit is not None and bit >= REGISTER_BITS:
            raise ValueError(f"a register has no bit {bit}; write the address in quotes, as in '{register}.3'")
        return keys | {"bit": bit or 0}
    if kind == "string":
        return keys | {"raw": "string", "length": attributes.string_register_size or 1, "encoding": "utf-8"}
    raw = attributes.raw_type.lower() or kind
    if kind not in RAW or raw not in RAW:
        wrong = attributes.raw_type if kind in RAW else properties.value_type
        raise ValueError(f"the type {wrong[:40]!r} is not translated")
    is_wide = raw.endswith("32")
    keys |= raw_keys(raw, words=attributes.is_word_swap and is_wide, bytes_=attributes.is_byte_swap and is_wide)
    keys |= _scale(properties) | _bits(properties, raw)
    if kind.startswith("float") and not raw.startswith("float"):
        keys["type"] = "float"
    return keys


def _address(written: float | str | None) -> tuple[int, int | None]:
    """Return register and bit. A number with a point has two digits behind it there. Raises `ValueError`."""
    if written is None:
        raise ValueError("startingAddress is missing")
    text = f"{written:.2f}" if isinstance(written, float) else str(written).strip()
    if isinstance(written, float) and text.endswith(".00"):
        text = text[:-3]
    match = re.fullmatch(r"(\d{1,5})(?:\.(\d{1,2}))?", text)
    if not match:
        raise ValueError(f"the startingAddress {text[:40]!r} is not a register, or a register and a bit")
    return int(match[1]), int(match[2]) if match[2] else None


def _scale(properties: Properties) -> Keys:
    if properties.base:
        raise ValueError("base, a power of the value, is not translated")
    return scaled(properties.scale or 1, properties.offset or 0)


def _bits(properties: Properties, raw: str) -> Keys:
    """Return the bits that mask and shift select; both apply to numbers without a sign only. Raises `ValueError`."""
    mask, shift = properties.mask or 0, properties.shift or 0
    if not (mask or shift) or not properties.value_type.lower().startswith("uint"):
        return {}
    width = int(raw.lstrip("uint"))
    mask = mask or ((1 << width) - 1) >> max(0, -shift) << max(0, -shift)
    low, high = (mask & -mask).bit_length() - 1, mask.bit_length() - 1
    if mask < 0 or mask != (1 << high + 1) - (1 << low) or high >= width or -shift > low or shift > 64 - width:
        raise ValueError(f"mask {properties.mask} with shift {properties.shift} is not translated")
    factor = 2 ** (low + shift) * (properties.scale or 1)
    return {"bits": [low, high]} | ({"scale": number(float(factor))} if factor != 1 else {"scale": None})


def _devices(part: Part, found: Import) -> list[Part]:
    listed = part.find("deviceList", found, "devices")
    return listed or ([part] if isinstance(part.at("protocols").data, dict) else [])


def _add_device(part: Part, profiles: dict[str, Profile], options: Options, found: Import) -> None:
    what = str(part.at("name").data or "a device")[:100]
    device = part.read(Device, found, what)
    if device is None:
        return
    profile = profiles.get(device.profile_name)
    if profile is None:
        message = f"is left out: its profile {device.profile_name[:100]!r} is not in the file"
        found.note(part.where, what, message)
        return
    name = free_name(device.name)
    try:
        protocol, connection = _connection(part.at("protocols"), name, found)
        rates = _rates(part, profile, name, found)
    except ValueError as error:
        found.note(part.where, name, f"is left out: {error}")
        return
    machine = Found(name, profile.name, protocol, connection, options.area, options.line, part.where)
    _add_points(machine, profile, rates, found)
    rest = [point for point in profile.points if point not in rates]
    if rest and part.at("autoEvents").data:
        shown = ", ".join(rest[:5]) + (" and others" if len(rest) > 5 else "")  # noqa: PLR2004 - names to show
        found.note(part.where, name, f"no autoEvent reads {shown}: they are read every second")
    found.machines.append(machine)


def _connection(part: Part, name: str, found: Import) -> tuple[str, Keys]:
    """Return the protocol and the connection of a device. Raises `ValueError`."""
    for written, scheme in PROTOCOLS.items():
        if part.at(written).data is None:
            continue
        protocol = part.at(written).read(Protocol, found, name)
        if protocol is None:
            raise ValueError(f"its protocol {written} is not complete")
        if scheme == "modbus+tcp":
            keys: Keys = {"url": network_url(scheme, protocol.address, protocol.port)}
        else:
            line = SerialLine(
                protocol.address, protocol.baud_rate, protocol.parity, protocol.stop_bits, protocol.data_bits
            )
            keys = serial_keys(scheme, line, part.where, name, found)
        keys["unit"] = protocol.unit_id
        limit = part.at(written, "Timeout").data
        return "modbus", keys | timeout(_duration(limit), part.at(written).where, name, found)
    for key in ("opcua", "opc-ua"):
        written = part.at(key, "Endpoint").data
        if isinstance(written, str):
            found.note(part.at(key).where, name, "security is not translated; the strongest of the server is used")
            return "opcua", {"url": endpoint(written)}
    raise ValueError(f"its protocols are not {', '.join(PROTOCOLS)} or opcua")


def _duration(written: object) -> float | None:
    """Return seconds, written as a number or as in `500ms`. Raises `ValueError`."""
    if written is None or isinstance(written, int | float):
        return None if written is None else float(written)
    text = str(written)
    return float(text) if re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text) else seconds(text)


def _rates(part: Part, profile: Profile, name: str, found: Import) -> dict[str, Keys]:
    """Return the period of each resource that an autoEvent reads. Raises `ValueError`."""
    rates: dict[str, Keys] = {}
    for one in part.find("autoEvents", found, name):
        event = one.read(AutoEvent, found, name)
        if event is None:
            continue
        source = event.source_name or event.resource
        keys = every(seconds(event.interval or event.frequency))
        if event.on_change:
            keys["on_change"] = True
        for resource in profile.commands.get(source, [source]):
            limit = event.on_change_threshold
            numeric = _is_number(profile.points.get(resource))
            rates[resource] = keys | ({"deadband": number(limit)} if event.on_change and limit and numeric else {})
    return rates


def _is_number(row: Row | None) -> bool:
    if row is None:
        return False
    bits = "bit" in row.keys or str(row.keys.get("address", "")).startswith(("coil", "discrete"))
    return not bits and row.keys.get("raw") != "string" and row.keys.get("type") not in {"bool", "string"}


def _add_points(machine: Found, profile: Profile, rates: dict[str, Keys], found: Import) -> None:
    for name, row in profile.points.items():
        found.add(machine, name, row._replace(keys=dict(row.keys) | rates.get(name, {})))


def _recognise(content: Content) -> bool:
    text = content.text
    if "deviceResources" not in text and "deviceList" not in text and "profileName" not in text:
        return False
    parts = [part for whole in _documents(content) for part in _parts(whole)]
    return any(
        part.at(key).data is not None for part in parts for key in ("deviceResources", "deviceList", "profileName")
    )


FORMAT = Format("edgex", "device profile, or devices, of EdgeX Foundry (YAML, JSON)", _recognise, read)
