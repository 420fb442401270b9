"""Telegraf's input `modbus`, in its three styles: by registers, by requests, by metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.importers.found import Found, Import, Options, Row, free_name
from gateway.importers.telegraf_common import COMMON, duration, left_over

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.importers.telegraf_common import Finder

Settings = dict[str, Any]

KNOWN = COMMON | {
    "controller", "slave_id", "timeout", "baud_rate", "data_bits", "parity", "stop_bits", "transmission_mode",
    "configuration_type", "discrete_inputs", "coils", "holding_registers", "input_registers", "request", "metric",
    "workarounds", "busy_retries", "busy_retries_wait", "debug_connection",
}  # fmt: skip
FIELD = {"address", "name", "type", "scale", "output", "omit", "length", "bit", "data_type", "byte_order", "register"}

RAW = {
    "INT8L": "int8", "INT8H": "int8", "UINT8L": "uint8", "UINT8H": "uint8", "INT16": "int16", "UINT16": "uint16",
    "INT32": "int32", "UINT32": "uint32", "INT64": "int64", "UINT64": "uint64", "FLOAT16": "float16",
    "FLOAT32": "float32", "FLOAT64": "float64", "FLOAT16-IEEE": "float16", "FLOAT32-IEEE": "float32",
    "FLOAT64-IEEE": "float64", "STRING": "string", "BIT": "bool",
}  # fmt: skip
ORDERS = {"AB": "ABCD", "BA": "DCBA", "ABCD": "ABCD", "DCBA": "DCBA", "BADC": "BADC", "CDAB": "CDAB",
          "ABCDEFGH": "ABCD", "HGFEDCBA": "DCBA", "BADCFEHG": "BADC", "GHEFCDAB": "CDAB"}  # fmt: skip
TABLES = {"discrete_inputs": "discrete", "coils": "coil", "holding_registers": "holding", "input_registers": "input"}
PARITY = {"N": "none", "E": "even", "O": "odd"}
MODES = {
    ("tcp", ""): "modbus+tcp", ("tcp", "TCP"): "modbus+tcp", ("tcp", "RTUoverTCP"): "modbus+rtutcp",
    ("file", ""): "modbus+rtu", ("file", "RTU"): "modbus+rtu", ("file", "ASCII"): "modbus+ascii",
}  # fmt: skip


def read(plugin: Settings, every: str, start: int, lines: Finder, options: Options, found: Import) -> None:
    """Add the machines of one input: one for each of its slave ids."""
    name = free_name(str(plugin.get("name") or options.machine or "modbus"))
    left_over(plugin, KNOWN, start, lines, name, found)
    try:
        connection = _connection(plugin, name, start, lines, found)
        rate = duration(plugin.get("interval", every))
    except ValueError as error:
        found.note(lines.find("controller", start=start), name, f"is left out: {error}")
        return
    units: dict[int, Found] = {}
    for unit, where, setting in _fields(plugin, name, start, lines, found):
        point = str(setting.get("name", ""))
        line = lines.find("name", point, start) if point else start
        left_over(setting, FIELD, line, lines, f"{name}/{point}", found)
        try:
            keys = _point(where, setting)
        except ValueError as error:
            found.note(line, f"{name}/{point}", f"is left out: {error}")
            continue
        if unit not in units:
            one = name if not units else f"{name}-{unit}"
            settings = connection | {"unit": unit}
            units[unit] = Found(one, name, "modbus", settings, options.area, options.line, start)
        found.add(units[unit], point, Row(line, keys | {"every": rate}))
    found.machines += units.values()


def _connection(plugin: Settings, name: str, start: int, lines: Finder, found: Import) -> Settings:
    scheme, _, rest = str(plugin.get("controller", "")).partition("://")
    mode = str(plugin.get("transmission_mode", ""))
    if (scheme, mode) not in MODES:
        raise ValueError(f"{plugin.get('controller')!r} with {mode or 'no'} transmission_mode has none like it here")
    connection: Settings = {"url": f"{MODES[scheme, mode]}://{rest}"}
    if "timeout" in plugin:
        connection["timeout"] = duration(plugin["timeout"])
    if scheme == "file":
        keys = {"baud_rate": "baud", "stop_bits": "stop_bits", "data_bits": "data_bits"}
        connection |= {ours: plugin[theirs] for theirs, ours in keys.items() if theirs in plugin}
        if mode != "ASCII":
            connection.pop("data_bits", None)  # of RTU always 8
        connection["parity"] = PARITY.get(str(plugin.get("parity", "N"))[:1].upper(), "none")
    around = dict(plugin.get("workarounds", {}))
    pauses = {"pause_after_connect": "pause_after_connect", "pause_between_requests": "pause"}
    connection |= {ours: duration(around.pop(theirs)) for theirs, ours in pauses.items() if theirs in around}
    if around.pop("close_connection_after_gather", False):
        connection["close_after_scan"] = True
    for key in around:
        found.note(lines.find(key, start=start), name, f"workarounds.{key} is not translated")
    return connection


def _fields(
    plugin: Settings, name: str, start: int, lines: Finder, found: Import
) -> Iterator[tuple[int, Settings, Settings]]:
    """Yield each field with its slave id and what it inherits."""
    style = plugin.get("configuration_type", "register")
    if style == "register":
        for section, table in TABLES.items():
            for setting in plugin.get(section, ()):
                yield int(plugin.get("slave_id", 1)), {"register": table, "style": style}, setting
    for number, part in enumerate(plugin.get(style, ()) if style in {"request", "metric"} else ()):
        known = {"slave_id", "byte_order", "register", "fields", "optimization", "optimization_max_register_fill"}
        left_over(part, known, start, lines, f"{name}/{style} {number + 1}", found)
        for setting in part.get("fields", ()):
            if not setting.get("omit"):
                yield int(part.get("slave_id", 0)), part | {"style": style}, setting


def _point(where: Settings, setting: Settings) -> Settings:
    """Return the keys of one field. Raises `ValueError` for a field without an equivalent."""
    table = str(setting.get("register", where.get("register", "holding")))
    address = setting.get("address")
    places = address if isinstance(address, list) else [address]
    if not places or not all(isinstance(place, int) for place in places):
        raise ValueError(f"{address!r} is not an address")
    keys: Settings = {"address": f"{table} {places[0]}"}
    if table in {"coil", "discrete"}:
        return keys
    written = str(setting.get("data_type", setting.get("type", ""))).upper()
    raw, is_float = _raw(written, len(places), str(where["style"]))
    if raw == "bool":
        bit = setting.get("bit", places[1] if len(places) > 1 else None)
        return keys | {"bit": bit}
    keys |= {"raw": raw} | ({"byte": "high"} if written.endswith("8H") else {})
    if raw == "string":
        keys["length"] = int(setting.get("length", len(places)))
    order = str(setting.get("byte_order", where.get("byte_order", "ABCD")))
    if order not in ORDERS:
        raise ValueError(f"{order!r} is not a byte order here")
    if ORDERS[order] != "ABCD" and "8" not in raw:
        keys["order"] = ORDERS[order]
    scale = setting.get("scale", 1)
    if scale not in {0, 1}:  # 0 means no scale there
        keys["scale"] = scale
    return keys | _type(str(setting.get("output", "")), raw, is_float=is_float)


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
