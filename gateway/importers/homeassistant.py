"""The `modbus:` section of Home Assistant: hubs with sensors, binary sensors, climates, covers and switches.

Addresses are those on the wire. `swap` is `byte`, `word` or `word_byte`. Tags such as `!secret` and `!include` are
noted, and not executed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from gateway.importers.base import Format
from gateway.importers.environment import VARIABLE, read_values
from gateway.importers.foreign import Foreign, Part, looks_like_json, note_yaml, yaml_part
from gateway.importers.found import Found, Import, Options, Row, free_name
from gateway.importers.homeassistant_structure import values_of
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
from gateway.settings.serialize import duration, number

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

    from gateway.importers.content import Content

Unit = Annotated[int, Field(ge=0, le=255)] | Annotated[str, Field(pattern=f"^{VARIABLE.pattern}$")]
Entry = Annotated[int, Field(ge=0, le=65535)]
Copies = Annotated[int | None, Field(ge=0, le=1000)]

SCAN_INTERVAL = 15.0
"""The default period, in seconds."""

TABLES = {
    "coil": "coil", "coils": "coil", "discrete_input": "discrete", "discrete": "discrete", "holding": "holding",
    "holdings": "holding", "input": "input",
}  # fmt: skip

ADDRESS = frozenset({"host", "port", "slave", "device_address"})
"""Keys that are part of an address."""

SWAPS = {"none": (False, False), "byte": (False, True), "word": (True, False), "word_byte": (True, True)}
"""Whether words, and whether bytes, are swapped."""

BY_COUNT = {
    "int": {1: "int16", 2: "int32", 4: "int64"},
    "uint": {1: "uint16", 2: "uint32", 4: "uint64"},
    "float": {1: "float16", 2: "float32", 4: "float64"},
}
"""Types of older versions, by `count`."""

RAW = frozenset({
    "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64",
})  # fmt: skip

SHOWN = frozenset({
    "precision", "device_class", "state_class", "unique_id", "lazy_error_count", "icon", "entity_category",
    "max_temp", "min_temp", "temp_step", "command_on", "command_off", "command_open", "command_close", "options",
})  # fmt: skip
"""Keys that say how a value is shown or written, and not which it is."""


class Hub(Foreign):
    """A connection."""

    apart: ClassVar[Container[str]] = {
        "sensors", "binary_sensors", "climates", "covers", "switches", "lights", "fans", "close_comm_on_error",
        "retry_on_empty", "retry_on_error",
    }  # fmt: skip

    type: Literal["tcp", "udp", "rtuovertcp", "serial"]
    name: str = "modbus_hub"
    host: str = ""
    port: str = ""
    timeout: float | None = None
    delay: Annotated[float, Field(ge=0, le=60)] = 0
    message_wait_milliseconds: Annotated[float, Field(ge=0, le=10_000)] = 0
    retries: int | None = None
    method: Literal["rtu", "ascii"] = "rtu"
    baudrate: int = 9600
    bytesize: int = 8
    stopbits: float = 1
    parity: str = "N"


class Entity(Foreign):
    """What all entities have."""

    name: str
    address: Entry
    slave: Unit | None = None
    device_address: Unit | None = None
    scan_interval: Annotated[float, Field(ge=0)] = SCAN_INTERVAL

    @property
    def unit(self) -> int | str:
        """The unit id, or a variable."""
        if self.slave is not None:
            return self.slave
        return 1 if self.device_address is None else self.device_address


class Number(Entity):
    """A value in registers: a sensor, or the temperature of a climate."""

    apart: ClassVar[Container[str]] = SHOWN | {"nan_value", "hvac_mode_register", "fan_mode_register"}

    input_type: Literal["holding", "input"] = "holding"
    data_type: str = "int16"
    count: Annotated[int | None, Field(ge=1, le=125)] = None
    structure: str = ""
    scale: float = 1
    offset: float = 0
    swap: Literal["none", "byte", "word", "word_byte"] | None = None
    reverse_order: bool = False
    unit_of_measurement: str = ""
    slave_count: Copies = None
    virtual_count: Copies = None
    min_value: float | None = None
    max_value: float | None = None
    nan_value: Annotated[str, Field(max_length=40)] = ""
    zero_suppress: float | None = None

    @property
    def copies(self) -> int:
        """The number of equal values that follow."""
        return self.slave_count or self.virtual_count or 0

    @property
    def swapped(self) -> tuple[bool, bool]:
        """Whether words, and whether bytes, are swapped."""
        return SWAPS[self.swap or ("word" if self.reverse_order else "none")]


class Climate(Number):
    """A thermostat: `address` is that of the temperature."""

    apart: ClassVar[Container[str]] = Number.apart | {  # type: ignore[operator] # a set
        "hvac_onoff_register", "swing_mode_register", "target_temp_write_registers", "write_registers",
        "hvac_on_value", "hvac_off_value", "hvac_onoff_coil", "hvac_action_register",
    }  # fmt: skip

    temperature_unit: str = "C"
    target_temp_register: list[Entry] | Entry | None = None
    current_temp_scale: float | None = None
    current_temp_offset: float | None = None
    target_temp_scale: float | None = None
    target_temp_offset: float | None = None


class BinarySensor(Entity):
    """A bit: a coil, a discrete input, or the lowest bit of a register."""

    apart: ClassVar[Container[str]] = SHOWN

    input_type: Literal["coil", "discrete_input", "holding", "input"] = "coil"
    slave_count: Copies = None
    virtual_count: Copies = None


class Verify(Foreign):
    """Where the state of a switch is read."""

    apart: ClassVar[Container[str]] = {"delay"}

    address: Entry | None = None
    input_type: Literal["coil", "discrete_input", "holding", "input"] | None = None
    state_on: list[int] | int | None = None
    state_off: list[int] | int | None = None


class Switch(Entity):
    """A switch, light or fan. It is read only with `verify`."""

    apart: ClassVar[Container[str]] = SHOWN | {"verify", "brightness_address", "color_temp_address"}

    write_type: Literal["holding", "coil", "holdings", "coils"] = "holding"
    command_on: int = 1
    command_off: int = 0


class Cover(Entity):
    """A blind or gate: a coil, or a register with its state."""

    apart: ClassVar[Container[str]] = SHOWN

    input_type: Literal["holding", "coil"] = "holding"
    status_register: Entry | None = None
    status_register_type: Literal["holding", "input"] = "holding"
    state_open: int = 1
    state_closed: int = 0
    state_opening: int = 2
    state_closing: int = 3


class Device(NamedTuple):
    """A hub with its connection, and the machines of its units."""

    name: str
    connection: Keys
    units: dict[int | str, Found]
    options: Options
    found: Import


def read(content: Content, options: Options) -> Import:
    """Return the machines of a file. Raises `ValueError` for one without a hub."""
    whole = yaml_part(content.text)
    found = Import()
    note_yaml(whole, found)
    whole = _without_tags(whole, None if options.env_file is None else read_values(options.env_file), found)
    hubs, sensors = _hubs(whole)
    for hub in hubs:
        _read_hub(hub, options, found)
    if sensors:
        _read_sensors(sensors, options, found)
    share_options(found.machines, found)
    if not hubs and not sensors:
        raise ValueError("it has no section modbus with hubs")
    return found


def _without_tags(whole: Part, secrets: Mapping[str, str] | None, found: Import) -> Part:
    """Return the data with values, or variables of the environment, in place of tags; included files are left out.

    `secrets` are those of a file. Of others, those that are part of an address become variables.
    """
    document = whole.document
    noted: set[str] = set()
    for path, tag in sorted((document.tags if document else {}).items()):
        if not path:
            raise ValueError(f"the file is {tag} alone; import the files that it names")
        part, above = whole.at(*path), whole.at(*path[:-1])
        written = str(part.data)[:100]
        value: object = None
        if tag in {"!secret", "!env_var"} and isinstance(part.data, str):
            value = (secrets or {}).get(written)
            if value is None:
                value, message = _variable(tag, written, str(path[-1]))
                if written not in noted:
                    found.note(part.where, f"{tag} {written}", message)
                noted.add(written)
        elif tag.startswith("!include"):
            message = f"{tag} {written}: is not read; import that file, too, with --connection"
            found.note(part.where, ".".join(map(str, path)), message)
        else:
            found.note(part.where, ".".join(map(str, path)), f"{tag[:100]} is not translated")
        if isinstance(above.data, dict | list):
            _replace(above.data, path[-1], value)
    return whole


def _variable(tag: str, written: str, key: str) -> tuple[str | None, str]:
    """Return the variable for a secret that is part of an address, and the note."""
    name, _, default = written.partition(" ")
    variable = re.sub(r"\W", "_", name).upper()
    if key not in ADDRESS or not VARIABLE.fullmatch(f"${{{variable}}}"):
        return None, "is not read, its key is left out; say --env-file secrets.yaml"
    usual = f":-{default}" if tag == "!env_var" and re.fullmatch(r"[\w.:-]+", default) else ""
    return (
        f"${{{variable}{usual}}}",
        f"is not read; set the environment variable {variable}, or say --env-file secrets.yaml",
    )


def _replace(holder: Any, step: str | int, value: object) -> None:  # noqa: ANN401 - a mapping or a list
    """Replace a value; a key without a value is removed, so that its default counts."""
    if value is None and isinstance(holder, dict):
        del holder[step]
    else:
        holder[step] = value


def _hubs(whole: Part) -> tuple[list[Part], list[Part]]:
    """Return the hubs of a file, and the sensors of a file that contains them alone."""
    sections = [whole.at("modbus"), *(one.at("modbus") for _, one in whole.at("homeassistant", "packages").items())]
    if isinstance(whole.data, list) or _is_hub(whole):
        sections = [whole]
    entries = [entry for section in sections for entry in section.entries()]
    hubs = [entry for entry in entries if _is_hub(entry)]
    sensors = [entry for entry in entries if entry.at("address").data is not None and entry not in hubs]
    return hubs, sensors


def _is_hub(part: Part) -> bool:
    return isinstance(part.data, dict) and "type" in part.data and ("host" in part.data or "port" in part.data)


def _read_hub(part: Part, options: Options, found: Import) -> None:
    name = str(part.at("name").data or "modbus_hub")[:100]
    hub = part.read(Hub, found, name)
    if hub is None:
        return
    try:
        connection = _connection(hub, part, name, found)
    except ValueError as error:
        found.note(part.where, name, f"is left out: {error}")
        return
    device = Device(free_name(hub.name), connection, {}, options, found)
    for section, reader in READERS.items():
        for one in part.find(section, found, name):
            reader(one, device)
    found.machines += device.units.values()


def _read_sensors(parts: list[Part], options: Options, found: Import) -> None:
    """Read a file of sensors that another file includes. Raises `ValueError` without a connection."""
    if not options.connection:
        raise ValueError("it has sensors and no hub; say --connection, as in modbus+tcp://10.20.1.11:502")
    device = Device(free_name(options.machine or "modbus_hub"), {"url": options.connection}, {}, options, found)
    for part in parts:
        kind = str(part.at("input_type").data)
        (_binary if kind in {"coil", "discrete_input"} else _sensor)(part, device)
    found.machines += device.units.values()


def _connection(hub: Hub, part: Part, name: str, found: Import) -> Keys:
    if hub.type == "serial":
        line = SerialLine(hub.port, hub.baudrate, hub.parity, hub.stopbits, hub.bytesize)
        keys = serial_keys(f"modbus+{hub.method}", line, part.where, name, found)
    else:
        scheme = "modbus+rtutcp" if hub.type == "rtuovertcp" else f"modbus+{hub.type}"
        keys = {"url": network_url(scheme, hub.host, hub.port or 502)}
    keys |= timeout(hub.timeout, part.at("timeout").where, name, found)
    if hub.delay:
        keys["pause_after_connect"] = duration(hub.delay)
    if hub.message_wait_milliseconds:
        keys["pause"] = duration(hub.message_wait_milliseconds / 1000)
    if hub.retries == 0:
        keys["retries"] = 0
    return keys


def _machine(device: Device, unit: int | str, part: Part) -> Found:
    """Return the machine of a unit."""
    if unit not in device.units:
        name = device.name if not device.units else f"{device.name}-{str(unit).strip('${}')}"
        connection = device.connection | {"unit": unit}
        options = device.options
        device.units[unit] = Found(name, name, "modbus", connection, options.area, options.line, part.where)
    return device.units[unit]


def _add(part: Part, device: Device, entity: Entity, points: dict[str, Keys]) -> None:
    """Add points with the period of their entity."""
    period = every(entity.scan_interval or SCAN_INTERVAL)
    if not entity.scan_interval:
        device.found.note(part.where, entity.name, f"has scan_interval 0; it is read every {SCAN_INTERVAL:g} s")
    for name, keys in points.items():
        device.found.add(_machine(device, entity.unit, part), name, Row(part.where, keys | period))


def _sensor(part: Part, device: Device) -> None:
    what = f"{device.name}/{str(part.at('name').data)[:100]}"
    sensor = part.read(Number, device.found, what)
    if sensor is None:
        return
    try:
        values = dict(_values(sensor, part, what, device.found))
        rest = _rest(sensor, part, what, device.found)
        _add(part, device, sensor, {name: keys | rest for name, keys in values.items()})
    except ValueError as error:
        device.found.note(part.where, what, f"is left out: {error}")


def _values(sensor: Number, part: Part, what: str, found: Import) -> Iterator[tuple[str, Keys]]:
    """Yield the points of a sensor. Raises `ValueError`."""
    table, words, bytes_ = sensor.input_type, *sensor.swapped
    scale = scaled(sensor.scale or 1, sensor.offset)
    if sensor.data_type == "string":
        order = {"order": "BADC"} if bytes_ else {}
        keys = {"address": f"{table} {sensor.address}", "raw": "string", "length": sensor.count or 1}
        yield sensor.name, keys | {"encoding": "utf-8"} | order
        return
    if sensor.data_type == "custom":
        items = values_of(sensor.structure, sensor.count)
        if len(items) > 1:
            found.note(part.where, what, f"is a list of {len(items)} values; it becomes a point for each")
        for number_of, (register, keys) in enumerate(items):
            name = sensor.name if len(items) == 1 else f"{sensor.name}_{number_of}"
            is_number = keys.get("raw") not in {"string", "bytes"} and "bit" not in keys
            yield name, {"address": f"{table} {sensor.address + register}"} | keys | (scale if is_number else {})
        return
    raw = BY_COUNT.get(sensor.data_type, {}).get(sensor.count or 1, sensor.data_type)
    if raw not in RAW:
        raise ValueError(f"the data_type {sensor.data_type[:40]!r} is not known")
    size = int(raw.lstrip("uintfloa")) // 16
    keys = raw_keys(raw, words=words, bytes_=bytes_) | scale | _not_available(sensor, raw)
    for copy in range(sensor.copies + 1):
        name = sensor.name if copy == 0 else f"{sensor.name} {copy}"
        yield name, {"address": f"{table} {sensor.address + copy * size}"} | keys


def _not_available(sensor: Number, raw: str) -> Keys:
    """Return the raw value that means "no value" (`nan_value`), a number or hexadecimal. Raises `ValueError`."""
    if not sensor.nan_value:
        return {}
    try:
        value = int(sensor.nan_value, 0) if not sensor.nan_value.lstrip("-").isdecimal() else int(sensor.nan_value)
    except ValueError:
        try:
            value = int(sensor.nan_value, 16)
        except ValueError:
            raise ValueError(f"the nan_value {sensor.nan_value!r} is not a number") from None
    if raw.startswith("uint") and value < 0:
        value = -value  # both signs are compared there
    return {"not_available": value}


def _rest(sensor: Number, part: Part, what: str, found: Import) -> Keys:
    """Return unit and range, and note the keys that change values there and not here."""
    keys: Keys = dict(found.unit(part.at("unit_of_measurement").where, what, sensor.unit_of_measurement))
    low, high = sensor.min_value, sensor.max_value
    if low is not None and high is not None and low < high:
        keys["range"] = [number(low), number(high)]
        found.note(part.where, what, "values outside of min_value and max_value are uncertain, and not changed")
    else:
        for key in ("min_value", "max_value"):
            if getattr(sensor, key) is not None:
                found.note(part.at(key).where, what, f"{key} is not translated: no value is changed")
    if sensor.zero_suppress is not None:
        found.note(part.at("zero_suppress").where, what, "zero_suppress is not translated: no value is changed")
    return keys


def _climate(part: Part, device: Device) -> None:
    found = device.found
    what = f"{device.name}/{str(part.at('name').data)[:100]}"
    climate = part.read(Climate, found, what)
    if climate is None:
        return
    unit = {"c": "\u00b0C", "f": "\u00b0F"}.get(climate.temperature_unit.lower(), climate.temperature_unit)
    target = climate.target_temp_register
    targets = target if isinstance(target, list) else [] if target is None else [target]
    name, shared = climate.name, {"unit_of_measurement": unit}
    now = {"name": f"{name} current", "scale": climate.current_temp_scale, "offset": climate.current_temp_offset}
    changes = [now]
    if targets:
        later: dict[str, Any] = {"name": f"{name} target", "address": targets[0], "input_type": "holding"}
        changes.append(later | {"scale": climate.target_temp_scale, "offset": climate.target_temp_offset})
    if len(set(targets)) > 1:
        found.note(part.at("target_temp_register").where, what, "only the first target_temp_register is read")
    try:
        points: dict[str, Keys] = {}
        for change in changes:
            one = climate.model_copy(
                update=shared | {key: value for key, value in change.items() if value is not None}
            )
            rest = _rest(one, part, what, found)
            points |= {named: keys | rest for named, keys in _values(one, part, what, found)}
        points |= _modes(part, name, found, what)
        _add(part, device, climate, points)
    except ValueError as error:
        found.note(part.where, what, f"is left out: {error}")


def _modes(part: Part, name: str, found: Import, what: str) -> dict[str, Keys]:
    """Return the registers with the modes of a climate, with labels."""
    points: dict[str, Keys] = {}
    for key, suffix in ("hvac_mode_register", "mode"), ("fan_mode_register", "fan"), ("swing_mode_register", "swing"):
        address = part.at(key, "address").data
        address = address[0] if isinstance(address, list) and address else address
        if not isinstance(address, int) or isinstance(address, bool) or not 0 <= address <= 65535:  # noqa: PLR2004
            if part.at(key).data is not None:
                found.note(part.at(key).where, what, f"{key}: is left out: its address is not a register")
            continue
        labels: dict[int, str] = {}
        for label, value in part.at(key, "values").items():
            numbers = value.data if isinstance(value.data, list) else [value.data]
            short = re.sub(r"^(state|fan_mode|swing_mode)_", "", label)
            labels |= {one: short for one in numbers if isinstance(one, int)}
        points[f"{name} {suffix}"] = {"address": f"holding {address}"} | ({"labels": labels} if labels else {})
    for key in ("hvac_onoff_register", "hvac_onoff_coil"):
        address = part.at(key).data
        if isinstance(address, int):
            table = "coil" if key.endswith("coil") else "holding"
            points[f"{name} on"] = {"address": f"{table} {address}"}
    return points


def _binary(part: Part, device: Device) -> None:
    what = f"{device.name}/{str(part.at('name').data)[:100]}"
    sensor = part.read(BinarySensor, device.found, what)
    if sensor is None:
        return
    table = TABLES[sensor.input_type]
    bit = {"bit": 0} if table in {"holding", "input"} else {}
    points: dict[str, Keys] = {}
    for copy in range((sensor.slave_count or sensor.virtual_count or 0) + 1):
        name = sensor.name if copy == 0 else f"{sensor.name} {copy}"
        points[name] = {"address": f"{table} {sensor.address + copy}"} | bit
    _add(part, device, sensor, points)


def _switch(part: Part, device: Device) -> None:
    found = device.found
    what = f"{device.name}/{str(part.at('name').data)[:100]}"
    switch = part.read(Switch, found, what)
    if switch is None:
        return
    for key in ("brightness_address", "color_temp_address"):
        if part.at(key).data is not None:
            found.note(part.at(key).where, what, f"{key} is not translated")
    if not isinstance(part.data, dict) or "verify" not in part.data:
        found.note(part.where, what, "is left out: it is only written to, without verify")
        return
    verify = Verify() if part.at("verify").data is None else part.at("verify").read(Verify, found, what)
    if verify is None:
        return
    table = TABLES[verify.input_type or switch.write_type]
    keys: Keys = {"address": f"{table} {switch.address if verify.address is None else verify.address}"}
    if table in {"holding", "input"}:
        on = switch.command_on if verify.state_on is None else verify.state_on
        off = switch.command_off if verify.state_off is None else verify.state_off
        keys["labels"] = dict.fromkeys(_list(off), "off") | dict.fromkeys(_list(on), "on")
    _add(part, device, switch, {switch.name: keys})


def _list(written: list[int] | int) -> list[int]:
    return written if isinstance(written, list) else [written]


def _cover(part: Part, device: Device) -> None:
    what = f"{device.name}/{str(part.at('name').data)[:100]}"
    cover = part.read(Cover, device.found, what)
    if cover is None:
        return
    labels = {cover.state_closed: "closed", cover.state_open: "open"}
    table: str = cover.input_type
    if cover.status_register is not None:
        table = cover.status_register_type
    if table != "coil":
        labels |= {cover.state_opening: "opening", cover.state_closing: "closing"}
    address = cover.address if cover.status_register is None else cover.status_register
    labels = {value: label for value, label in labels.items() if table != "coil" or value in {0, 1}}
    _add(part, device, cover, {cover.name: {"address": f"{table} {address}", "labels": labels}})


READERS = {
    "sensors": _sensor, "binary_sensors": _binary, "climates": _climate, "covers": _cover, "switches": _switch,
    "lights": _switch, "fans": _switch,
}  # fmt: skip
"""Sections of a hub, and what reads an entry of each."""


def _recognise(content: Content) -> bool:
    if looks_like_json(content):
        return False
    text = content.text
    section = re.search(r"^[ \t]*(-[ \t]+)?modbus:", text, re.MULTILINE) and "type:" in text
    listed = re.search(r"^-?[ \t]*(name|type|host|port):", text, re.MULTILINE) and re.search(
        r"^[ \t]*(-[ \t]*)?(sensors|binary_sensors|climates|covers|switches|(input|data)_type|slave|device_address):",
        text,
        re.MULTILINE,
    )
    if not (section or listed):
        return False
    hubs, sensors = _hubs(yaml_part(text))
    return bool(hubs) or any(
        one.at(key).data is not None for one in sensors for key in ("input_type", "data_type", "scan_interval")
    )


FORMAT = Format("homeassistant", "modbus section of Home Assistant (YAML)", _recognise, read)
