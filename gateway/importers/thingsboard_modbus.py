"""The Modbus connector of the ThingsBoard IoT Gateway: `master.slaves`, and the old `server.devices`.

Words and bytes are in the little-endian order unless `wordOrder` and `byteOrder` say BIG. An `8int` is the first byte
of its register. `bits` of a register are the last `objectsCount` of a list that begins with the bits of the high
byte, the lowest first; of coils, it begins with the last.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from gateway.importers.foreign import Foreign, Part
from gateway.importers.found import Found, Import, Options, Row, free_name
from gateway.importers.modbus_keys import (
    FUNCTIONS,
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
from gateway.settings.parameters import plain
from gateway.settings.serialize import duration

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

Endian = Annotated[Literal["BIG", "LITTLE"], Field(strict=False)]

SECTIONS = ("attributes", "timeseries")
"""The lists of values that are read."""

WRITTEN = {"attributeUpdates": "attribute updates", "attributes_updates": "attribute updates", "rpc": "RPC"}
"""The lists of values that are written."""

RAW = {
    "8int": "int8", "8uint": "uint8", "16int": "int16", "16uint": "uint16", "16float": "float16",
    "32int": "int32", "32uint": "uint32", "32float": "float32", "64int": "int64", "64uint": "uint64",
    "64float": "float64",
}  # fmt: skip
"""Types with their size."""

BY_COUNT = {"int": "int", "long": "int", "integer": "int", "uint": "uint", "float": "float", "double": "float"}
"""Types whose size is `objectsCount`."""

MOST_VALUES = 10_000
"""Values of one range of addresses."""

SIXTEEN, EIGHT = 16, 8


class Camel(Foreign):
    """Keys in camelCase."""

    model_config = ConfigDict(alias_generator=to_camel)


class Report(Camel):
    """`reportStrategy`: when a value is sent."""

    apart: ClassVar[Container[str]] = {"aggregation", "ttl"}

    type: str = ""
    report_period: Annotated[float | None, Field(gt=0, le=1e12)] = None


class Slave(Camel):
    """A slave: where it is, and how its values are encoded."""

    apart: ClassVar[Container[str]] = {
        *SECTIONS, *WRITTEN, "reportStrategy", "tls", "security", "retryOnEmpty", "retryOnInvalid", "name",
        "converter",
        "connectAttemptTimeMs", "connectAttemptCount", "waitAfterFailedAttemptsMs", "handleLocalEcho", "repack",
        "attributesPollPeriod", "timeseriesPollPeriod", "sendDataToThingsBoard", "strict", "identity", "devices",
        "rtu", "unitIdSource",
    }  # fmt: skip

    host: str = ""
    port: str = ""
    type: str = "tcp"
    method: str = "socket"
    unit_id: Annotated[int, Field(ge=0, le=255)] = 1
    device_name: str = ""
    device_type: str = ""
    timeout: float | None = None
    byte_order: str = "LITTLE"
    word_order: str = "LITTLE"
    retries: bool | int = 3
    poll_period: Annotated[float, Field(gt=0, le=1e12)] = 5000
    baudrate: int = 19200
    stopbits: float = 1
    bytesize: int = 8
    parity: str = "N"
    delay_between_requests_ms: Annotated[float, Field(ge=0, le=1e6)] = 0
    send_data_only_on_change: bool = False


class Tag(Camel):
    """One value of a slave."""

    apart: ClassVar[Container[str]] = {"reportStrategy", "variants", "round", "value", "tagName"}

    tag: str
    type: str
    function_code: int
    address: int | str
    objects_count: Annotated[int | None, Field(ge=1, le=2000)] = None
    registers_count: Annotated[int | None, Field(ge=1, le=2000)] = None
    register_count: Annotated[int | None, Field(ge=1, le=2000)] = None
    divider: float | None = None
    multiplier: float | None = None
    bit: Annotated[int | None, Field(ge=0)] = None
    bit_target_type: str = "bool"
    byte_order: str = ""
    word_order: str = ""
    send_data_only_on_change: bool | None = None

    @property
    def count(self) -> int:
        """The number of registers or bits."""
        return self.objects_count or self.registers_count or self.register_count or 1


def is_connector(part: Part) -> bool:
    """Return whether this is a configuration of the Modbus connector."""
    present = isinstance(part.at("master", "slaves").data, list)
    return present or isinstance(part.at("server", "devices").data, list)


def read(connector: Part, options: Options, found: Import) -> None:
    """Add the machines of a connector, one for each slave."""
    if connector.at("slave").data:
        found.note(connector.at("slave").where, "slave", "is left out: Lineside does not serve Modbus")
    read_machines = [_machine(part, options, found) for part in _slaves(connector, found)]
    machines = [machine for machine in read_machines if machine is not None]
    share_options(machines, found)
    found.machines += machines


def _slaves(connector: Part, found: Import) -> Iterator[Part]:
    """Yield the slaves; those of the old form with the keys that they inherit."""
    yield from connector.at("master").find("slaves", found, "master")
    server = connector.at("server").data
    for part in connector.at("server").find("devices", found, "server"):
        if not isinstance(part.data, dict) or not isinstance(server, dict):
            yield part
            continue
        inherited = {key: value for key, value in server.items() if key not in {"devices", "name"}}
        own = {key: value for key, value in part.data.items() if value not in (None, "")}
        period = own.get("timeseriesPollPeriod") or own.get("attributesPollPeriod")
        yield Part(inherited | ({"pollPeriod": period} if period else {}) | own, part.path)


def _machine(part: Part, options: Options, found: Import) -> Found | None:
    data = part.data if isinstance(part.data, dict) else {}
    what = str(data.get("deviceName") or data.get("name") or f"slave {data.get('unitId', '')}").strip()[:100]
    slave = part.read(Slave, found, what)
    if slave is None:
        return None
    name = free_name(slave.device_name or options.machine or f"slave-{slave.unit_id}")
    template = slave.device_type if slave.device_type not in {"", "default"} else name
    try:
        connection = _connection(slave, part, name, found)
        period = every(slave.poll_period / 1000)
    except ValueError as error:
        found.note(part.where, name, f"is left out: {error}")
        return None
    machine = Found(name, template, "modbus", connection, options.area, options.line, part.where)
    for section in SECTIONS:
        for one in part.find(section, found, name):
            _add(machine, one, slave, period | _report(part, one, slave, name, found), found)
    for key, words in WRITTEN.items():
        if data.get(key):
            found.note(part.at(key).where, name, f"{words}: is left out, since Lineside does not write")
    return machine


def _connection(slave: Slave, part: Part, name: str, found: Import) -> Keys:
    kind, method = slave.type.lower(), slave.method.lower()
    tls = part.at("tls").data or part.at("security").data
    if kind == "serial":
        scheme = "modbus+ascii" if method == "ascii" else "modbus+rtu"
        line = SerialLine(slave.port, slave.baudrate, slave.parity, slave.stopbits, slave.bytesize)
        keys = serial_keys(scheme, line, part.where, name, found)
    elif kind in {"tcp", "udp", "tls"}:
        scheme = "modbus+tls" if tls or kind == "tls" else f"modbus+{kind}"
        if method == "rtu" and scheme != "modbus+tcp":
            raise ValueError(f"RTU frames over {kind} are not read here")
        keys = {"url": network_url("modbus+rtutcp" if method == "rtu" else scheme, slave.host, slave.port or 502)}
        if isinstance(tls, dict) and scheme == "modbus+tls":
            keys |= _tls(tls, part, name, found)
    else:
        raise ValueError(f"the type {slave.type[:20]!r} is not tcp, udp, tls or serial")
    keys |= {"unit": slave.unit_id} | timeout(slave.timeout, part.at("timeout").where, name, found)
    if slave.delay_between_requests_ms:
        keys["pause"] = duration(slave.delay_between_requests_ms / 1000)
    if not slave.retries:
        keys["retries"] = 0
    return keys


def _tls(tls: dict[str, Any], part: Part, name: str, found: Import) -> Keys:
    known = {"certfile": "certificate", "keyfile": "key", "server_hostname": "server_name", "cafile": "ca"}
    for key in tls.keys() - known.keys() - {"useTLS", "reqclicert"}:
        found.note(part.where, name, f"tls.{key[:100]} is not translated")
    return {ours: plain(str(tls[theirs])) for theirs, ours in known.items() if tls.get(theirs)}


def _report(part: Part, one: Part, slave: Slave, name: str, found: Import) -> Keys:
    """Return the keys that say when a value is sent."""
    changes = one.at("sendDataOnlyOnChange").data
    keys: Keys = {}
    if slave.send_data_only_on_change if changes is None else changes is True:
        keys["on_change"] = True
    where = one.at("reportStrategy") if one.at("reportStrategy").data else part.at("reportStrategy")
    if not where.data or (report := where.read(Report, found, name)) is None:
        return keys
    kind = report.type.upper()
    if kind in {"ON_CHANGE", "ON_CHANGE_OR_REPORT_PERIOD"}:
        keys["on_change"] = True
        if report.report_period and kind != "ON_CHANGE":
            keys["at_least_every"] = duration(round(report.report_period / 1000, 6))
    elif kind != "ON_RECEIVED":
        found.note(where.where, name, f"{kind[:40] or 'a report period'}: is not translated; each reading is sent")
    return keys


def _add(machine: Found, part: Part, slave: Slave, keys: Keys, found: Import) -> None:
    """Add the points of one tag."""
    what = f"{machine.machine}/{str(part.at('tag').data)[:100]}"
    tag = part.read(Tag, found, what)
    if tag is None:
        return
    try:
        points = dict(_points(tag, slave, part, what, found))
    except ValueError as error:
        found.note(part.where, what, f"is left out: {error}")
        return
    labels = _labels(part, what, found)
    for name, source in points.items():
        found.add(machine, name, Row(part.where, source | labels | keys))


def _points(tag: Tag, slave: Slave, part: Part, what: str, found: Import) -> Iterator[tuple[str, Keys]]:
    """Yield the points of a tag, of which a range of addresses has several. Raises `ValueError`."""
    addresses = list(_addresses(tag))
    for address in addresses:
        name = tag.tag
        if len(addresses) > 1 or isinstance(tag.address, str):
            name = _filled(tag, slave.unit_id, address)
        table = FUNCTIONS.get(tag.function_code)
        if table is None:
            raise ValueError(f"function {tag.function_code} does not read; write 1, 2, 3 or 4")
        if table in {"coil", "discrete"}:
            yield from _bits_of_table(tag, name, table, address, part, what, found)
        elif tag.type.lower() in {"bit", "bits"}:
            yield from _bits_of_register(tag, name, table, address, part, what, found)
        else:
            yield name, {"address": f"{table} {address}"} | _number(tag, slave)


def _addresses(tag: Tag) -> range:
    """Return the addresses of the values: one, or those of a range as in `10-20`."""
    if isinstance(tag.address, int):
        return range(tag.address, tag.address + 1)
    match = re.fullmatch(r"\s*(\d{1,5})\s*(?:-\s*(\d{1,5})\s*)?", tag.address)
    if not match or int(match[2] or match[1]) < int(match[1]):
        raise ValueError(f"the address {tag.address[:40]!r} is neither a number nor a range such as 10-20")
    found = range(int(match[1]), int(match[2] or match[1]) + 1, tag.count)
    if len(found) > MOST_VALUES:
        raise ValueError(f"the range {tag.address[:40]!r} has more than {MOST_VALUES:,} values")
    return found


def _filled(tag: Tag, unit: int, address: int) -> str:
    """Return the name of a value in a range of addresses."""
    values: dict[str, object] = {
        "unitId": unit, "address": address, "functionCode": tag.function_code, "type": tag.type,
        "objectsCount": tag.count,
    }  # fmt: skip
    name = tag.tag if "address" in tag.tag else f"{tag.tag}_${{address}}"
    return re.sub(r"\$\{(\w+)\}", lambda match: str(values.get(match[1], match[0])), name)


def _number(tag: Tag, slave: Slave) -> Keys:
    """Return the keys of a number or text in registers. Raises `ValueError`."""
    kind = tag.type.lower()
    if kind in {"string", "bytes"}:
        if tag.divider or tag.multiplier:
            raise ValueError(f"{kind} has no divider or multiplier")
        return {"raw": kind, "length": tag.count} | ({"encoding": "utf-8"} if kind == "string" else {})
    raw = RAW.get(kind)
    if raw is None and kind in BY_COUNT and tag.count in {1, 2, 4}:
        raw = f"{BY_COUNT[kind]}{SIXTEEN * tag.count}"
    if raw is None:
        raise ValueError(f"the type {tag.type[:40]!r} with {tag.count} registers is not known")
    swapped = [
        (own or shared).upper() == "LITTLE"
        for own, shared in ((tag.word_order, slave.word_order), (tag.byte_order, slave.byte_order))
    ]
    keys = raw_keys(raw, words=swapped[0], bytes_=swapped[1])
    if raw in {"int8", "uint8"}:
        keys["byte"] = "high"
    return keys | scaled(1 / tag.divider if tag.divider else tag.multiplier or 1)


def _bits_of_register(
    tag: Tag, name: str, table: str, address: int, part: Part, what: str, found: Import
) -> Iterator[tuple[str, Keys]]:
    """Yield the bits of a register: one, or all of the list that the program sends. Raises `ValueError`."""
    count = min(tag.count, SIXTEEN)
    places = [place % SIXTEEN + (EIGHT if place < EIGHT else -EIGHT) for place in range(SIXTEEN - count, SIXTEEN)]
    if tag.bit is not None or count == 1:
        place = places[min(tag.bit or 0, count - 1)]
        if count < SIXTEEN and not (tag.bit is not None and count == EIGHT and tag.bit < EIGHT):
            message = f"objectsCount {tag.count} of a register selects its bit {place}; compare it with the device"
            found.note(part.where, what, message)
        yield name, {"address": f"{table} {address}", "bit": place}
        return
    found.note(part.where, what, f"is a list of {count} bits; it becomes a point for each bit, named by its number")
    for place in sorted(places):
        yield f"{name}_{place}", {"address": f"{table} {address}", "bit": place}


def _bits_of_table(
    tag: Tag, name: str, table: str, address: int, part: Part, what: str, found: Import
) -> Iterator[tuple[str, Keys]]:
    """Yield coils or discrete inputs: one, or all of a list. Raises `ValueError`."""
    if tag.type.lower() not in {"bit", "bits", "bool", "boolean"}:
        raise ValueError(f"the type {tag.type[:40]!r} of coils or discrete inputs is not bits")
    if tag.count == 1:
        yield name, {"address": f"{table} {address}"}
    elif tag.bit is not None:
        order = [*range(7, -1, -1), *range(15, 7, -1)][: SIXTEEN if tag.count > EIGHT else EIGHT]
        if tag.count > SIXTEEN:
            raise ValueError("bit of more than 16 coils or discrete inputs is not translated")
        places = order[-tag.count :]
        yield name, {"address": f"{table} {address + places[min(tag.bit, tag.count - 1)]}"}
    else:
        found.note(part.where, what, f"is a list of {tag.count} bits, the last first; it becomes a point for each")
        for place in range(tag.count):
            yield f"{name}_{place}", {"address": f"{table} {address + place}"}


def _labels(part: Part, what: str, found: Import) -> Keys:
    """Return the labels of numbers (`variants`)."""
    labels: dict[int, str] = {}
    for key, one in part.at("variants").items():
        number = {"true": "1", "false": "0"}.get(key.lower(), key)
        if re.fullmatch(r"-?\d{1,18}", number) and isinstance(one.data, str | int | float):
            labels[int(number)] = str(one.data)
        else:
            found.note(one.where, what, f"the variant {key[:40]!r} is not translated: labels belong to whole numbers")
    return {"labels": labels} if labels else {}
