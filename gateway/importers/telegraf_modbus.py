"""Telegraf's input `modbus`, in its three styles: by registers, by requests, by metrics."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from gateway.importers.foreign import Foreign
from gateway.importers.found import Found, Import, Options, Row, free_name
from gateway.importers.telegraf_common import COMMON, checked, duration, entries, left_over, seconds
from gateway.settings.serialize import number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.importers.telegraf_common import Finder

Settings = dict[str, Any]

KNOWN = COMMON | {
    "controller", "slave_id", "timeout", "baud_rate", "data_bits", "parity", "stop_bits", "transmission_mode",
    "configuration_type", "discrete_inputs", "coils", "holding_registers", "input_registers", "request", "metric",
    "workarounds", "busy_retries", "busy_retries_wait", "optimization", "optimization_max_register_fill", "rs485",
    "exclude_register_type_tag",
}  # fmt: skip
PART = {"slave_id", "byte_order", "register", "fields", "optimization", "optimization_max_register_fill"}
FIELD = {"address", "name", "type", "scale", "output", "omit", "length", "bit", "data_type", "byte_order", "register"}

RAW = {
    "INT8L": "int8", "INT8H": "int8", "UINT8L": "uint8", "UINT8H": "uint8", "INT16": "int16", "UINT16": "uint16",
    "INT32": "int32", "UINT32": "uint32", "INT64": "int64", "UINT64": "uint64", "FLOAT16": "float16",
    "FLOAT32": "float32", "FLOAT64": "float64", "FLOAT16-IEEE": "float16", "FLOAT32-IEEE": "float32",
    "FLOAT64-IEEE": "float64", "STRING": "string", "BIT": "bool",
}  # fmt: skip
ORDERS = {
    "AB": "ABCD", "BA": "DCBA", "ABCD": "ABCD", "DCBA": "DCBA", "BADC": "BADC", "CDAB": "CDAB",
    "MSW-BE": "ABCD", "MSW-LE": "BADC", "LSW-BE": "CDAB", "LSW-LE": "DCBA",
    "ABCDEFGH": "ABCD", "HGFEDCBA": "DCBA", "BADCFEHG": "BADC", "GHEFCDAB": "CDAB",
}  # fmt: skip
TABLES = {"discrete_inputs": "discrete", "coils": "coil", "holding_registers": "holding", "input_registers": "input"}
PARITY = {"N": "none", "E": "even", "O": "odd"}
MODES = {
    ("tcp", ""): "modbus+tcp", ("tcp", "TCP"): "modbus+tcp", ("tcp", "RTUoverTCP"): "modbus+rtutcp",
    ("file", ""): "modbus+rtu", ("file", "RTU"): "modbus+rtu", ("file", "ASCII"): "modbus+ascii",
}  # fmt: skip
LIMITS = {"max_bit_registers_per_request": "max_bits", "max_word_registers_per_request": "max_registers"}
MOST_INSERTED = 124
"""Registers that a request may read between two points."""


class Input(Foreign):
    """Settings of the input."""

    name: str = ""
    controller: str
    slave_id: Annotated[int, Field(ge=0, le=255)] = 1
    timeout: str = ""
    interval: str = ""
    transmission_mode: str = ""
    configuration_type: Literal["register", "request", "metric"] = "register"
    baud_rate: int = 9600
    data_bits: int = 8
    parity: str = "N"
    stop_bits: int = 1
    workarounds: dict[str, Any] = {}
    rs485: dict[str, Any] = {}
    request: list[Any] = []
    metric: list[Any] = []
    busy_retries: int = 0
    optimization: str = ""
    optimization_max_register_fill: int = 50


class Collection(Foreign):
    """A request, or a metric."""

    slave_id: Annotated[int, Field(ge=0, le=255)] = 0
    byte_order: str = "ABCD"
    table: Annotated[Literal["coil", "discrete", "holding", "input"], Field(alias="register")] = "holding"
    optimization: str = ""
    optimization_max_register_fill: int = 50


class Register(Foreign):
    """A field: one value."""

    name: str = ""
    address: int | list[int]
    type: str = ""
    data_type: str = ""
    byte_order: str = ""
    table: Annotated[Literal["", "coil", "discrete", "holding", "input"], Field(alias="register")] = ""
    scale: float = 0
    output: str = ""
    omit: bool = False
    length: Annotated[int, Field(ge=0, le=125)] = 0
    bit: Annotated[int, Field(ge=0, le=15)] = 0


def read(plugin: object, every: str, start: int, lines: Finder, options: Options, found: Import) -> None:
    """Add the machines of one input: one for each of its slave ids."""
    given = plugin.get("name") if isinstance(plugin, dict) else ""
    name = free_name(str(given or options.machine or "modbus")[:100])
    settings = checked(Input, plugin, start, name, found)
    if settings is None:
        return
    left_over(settings, KNOWN, start, lines, name, found)
    try:
        connection = _connection(settings, name, start, lines, found)
        rate = duration(settings.get("interval") or every)
    except ValueError as error:
        found.note(lines.find("controller", start=start), name, f"is left out: {error}")
        return
    location = str(settings.get("workarounds", {}).get("string_register_location", ""))
    units: dict[int, Found] = {}
    for unit, where, setting in _fields(settings, name, start, lines, found):
        point = str(setting.get("name", ""))
        line = lines.find("name", point, start) if point else start
        field = checked(Register, setting, line, f"{name}/{point}", found)
        if field is None or field.get("omit"):
            continue
        left_over(field, FIELD, line, lines, f"{name}/{point}", found)
        try:
            keys = _point(where, field, location)
        except ValueError as error:
            found.note(line, f"{name}/{point}", f"is left out: {error}")
            continue
        if unit not in units:
            one = name if not units else f"{name}-{unit}"
            own = connection | {"unit": unit}
            units[unit] = Found(one, name, "modbus", own, options.area, options.line, start)
        found.add(units[unit], point, Row(line, keys | {"every": rate}))
    found.machines += units.values()


def _connection(plugin: Settings, name: str, start: int, lines: Finder, found: Import) -> Settings:
    controller = str(plugin["controller"])
    scheme, _, rest = controller.partition("://")
    if re.fullmatch(r"COM\d+", controller):
        found.note(
            lines.find("controller", start=start), name, f"write the path of the port in place of {controller}"
        )
        scheme, rest = "file", f"/dev/{controller}"
    mode = str(plugin.get("transmission_mode", "")).removeprefix("auto")
    if (scheme, mode) not in MODES:
        raise ValueError(f"{controller[:100]!r} with {mode[:40] or 'no'} transmission_mode has none like it here")
    connection: Settings = {"url": f"{MODES[scheme, mode]}://{rest}"}
    if plugin.get("timeout"):
        connection["timeout"] = duration(plugin["timeout"])
    if scheme == "file":
        keys = {"baud_rate": "baud", "stop_bits": "stop_bits", "data_bits": "data_bits"}
        connection |= {ours: plugin[theirs] for theirs, ours in keys.items() if theirs in plugin}
        if mode != "ASCII":
            connection.pop("data_bits", None)  # of RTU always 8
        connection["parity"] = PARITY.get(str(plugin.get("parity", "N"))[:1].upper(), "none")
        if plugin.get("rs485"):
            connection["rs485"] = True
            message = "rs485: the driver switches the direction; its delays are not translated"
            found.note(lines.find("rs485", start=start), name, message)
    return connection | _gap(plugin) | _workarounds(plugin, name, start, lines, found)


def _gap(plugin: Settings) -> Settings:
    """Return the registers that the optimization `max_insert` may read between two fields."""
    inner = [one for key in ("request", "metric") for one in plugin.get(key, []) if isinstance(one, dict)]
    gaps = [
        gap
        for one in (plugin, *inner)
        if one.get("optimization") == "max_insert"
        and isinstance(gap := one.get("optimization_max_register_fill", 50), int)
    ]
    return {"max_gap": max(0, min(MOST_INSERTED, *gaps, MOST_INSERTED))} if gaps else {}


def _workarounds(plugin: Settings, name: str, start: int, lines: Finder, found: Import) -> Settings:
    around = dict(plugin.get("workarounds", {}))
    keys: Settings = {}
    pauses = {"pause_after_connect": "pause_after_connect", "pause_between_requests": "pause"}
    for theirs, ours in pauses.items():
        if (written := around.pop(theirs, None)) is not None and seconds(written) > 0:
            keys[ours] = duration(written)
    for theirs, ours in LIMITS.items():
        if isinstance(limit := around.pop(theirs, None), int) and not isinstance(limit, bool):
            keys[ours] = limit
    if around.pop("close_connection_after_gather", False):
        keys["close_after_scan"] = True
    if str(around.pop("string_register_location", "")) not in {"", "both", "lower", "upper"}:
        found.note(lines.find("string_register_location", start=start), name, "string_register_location is not known")
    if around.pop("one_request_per_field", False):
        message = "one_request_per_field: max_gap is 0, and neighbouring registers are read together"
        found.note(lines.find("one_request_per_field", start=start), name, message)
        keys["max_gap"] = 0
    for key, value in around.items():
        if value:
            found.note(lines.find(key, start=start), name, f"workarounds.{key[:100]} is not translated")
    return keys


def _fields(
    plugin: Settings, name: str, start: int, lines: Finder, found: Import
) -> Iterator[tuple[int, Settings, Settings]]:
    """Yield each field with its slave id and what it inherits."""
    style = str(plugin.get("configuration_type", "register"))
    if style == "register":
        for section, table in TABLES.items():
            for setting in entries(plugin, section, start, name, found):
                yield int(plugin.get("slave_id", 1)), {"register": table, "style": style}, _table(setting)
        return
    for index, part in enumerate(entries(plugin, style, start, name, found), 1):
        what = f"{name}/{style} {index}"
        settings = checked(Collection, part, start, what, found)
        if settings is None:
            continue
        left_over(settings, PART, start, lines, what, found)
        for setting in entries(settings, "fields", start, what, found):
            yield int(settings.get("slave_id", 0)), settings | {"style": style}, _table(setting)


def _table(written: object) -> Settings:
    return written if isinstance(written, dict) else {"name": str(written)[:100]}


def _point(where: Settings, setting: Settings, location: str) -> Settings:
    """Return the keys of one field. Raises `ValueError` for a field without an equivalent."""
    table = str(setting.get("register") or where.get("register") or "holding")
    address = setting["address"]
    places = address if isinstance(address, list) else [address]
    if not places:
        raise ValueError("it has no address")
    keys: Settings = {"address": f"{table} {places[0]}"}
    if table in {"coil", "discrete"}:
        return keys
    written = str(setting.get("data_type", setting.get("type", ""))).upper()
    raw, is_float = _raw(written, len(places), str(where["style"]))
    order = str(setting.get("byte_order") or where.get("byte_order") or "ABCD")
    if order not in ORDERS:
        raise ValueError(f"{order[:40]!r} is not a byte order here")
    order = ORDERS[order]
    if raw in {"bool", "string"} or raw.endswith(
        ("8", "16")
    ):  # one register, or a sequence: its bytes can be swapped
        order = "BADC" if order in {"BADC", "DCBA"} else "ABCD"
    swapped = {} if order == "ABCD" else {"order": order}
    if raw == "bool":
        return keys | {"bit": places[1] if len(places) > 1 else setting.get("bit", 0)} | swapped
    keys |= {"raw": raw} | ({"byte": "high"} if written.endswith("8H") else {})
    if raw == "string":
        return keys | _string(setting, places, order, location)
    if len(places) > 1 and places != list(range(places[0], places[0] + len(places))):
        raise ValueError(f"its registers {', '.join(map(str, places[:8]))} do not follow each other")
    keys |= swapped
    scale = setting.get("scale", 0)  # 0 means no scale there
    if scale not in {0, 1}:
        keys["scale"] = number(scale)
    is_float = is_float or (bool(scale) and float(scale).is_integer() and where["style"] != "register")
    return keys | _type(str(setting.get("output", "")), raw, is_float=is_float and not raw.startswith("float"))


def _string(setting: Settings, places: list[int], order: str, location: str) -> Settings:
    """Return the keys of a text, whose bytes may be in one half of each register."""
    keys: Settings = {"length": int(setting.get("length") or len(places))}
    swapped = order == "BADC"
    if location in {"lower", "upper"}:
        keys["packing"] = "byte_per_register"
        swapped = swapped != (location == "upper")
    return keys | ({"order": "BADC"} if swapped else {})


def _type(output: str, raw: str, *, is_float: bool) -> Settings:
    if output == "STRING" and raw != "string":
        raise ValueError("a number is not sent as text here")
    if output in {"INT64", "UINT64"}:
        return {"type": "int"}
    return {"type": "float"} if output == "FLOAT64" or is_float else {}


def _raw(written: str, registers: int, style: str) -> tuple[str, bool]:
    """Return the type of the registers, and whether its values are sent as floats whatever it is."""
    if written in {"FIXED", "UFIXED"} or (written == "FLOAT32" and style == "register"):
        sign = "" if written == "FIXED" else "u"
        if registers not in {1, 2, 4}:
            raise ValueError(f"there is no number of {registers} registers")
        return f"{sign}int{16 * registers}", True
    if written not in RAW:
        raise ValueError(f"the type {written!r} has none like it here")
    return RAW[written], False
