"""Projects of KEPServerEX as JSON: channels, their devices, and the tags of each in groups."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from gateway.importers.base import Format
from gateway.importers.found import Found, Import, Options, Row, free_name, without_defaults
from gateway.importers.kepware_tags import Device, point
from gateway.importers.scaling import finite
from gateway.importers.table import Line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.importers.content import Content

Node = dict[str, Any]

NAME, DRIVER = "common.ALLTYPES_NAME", "servermain.MULTIPLE_TYPES_DEVICE_DRIVER"

DATA_TYPES = {
    -1: "Default", 0: "String", 1: "Boolean", 2: "Char", 3: "Byte", 4: "Short", 5: "Word", 6: "Long", 7: "DWord",
    8: "Float", 9: "Double", 10: "BCD", 11: "LBCD", 12: "Date", 13: "LLong", 14: "QWord",
}  # fmt: skip
"""Data types by their numbers; those of arrays are 20 larger."""

COLUMNS = {
    "servermain.TAG_ADDRESS": "Address", "common.ALLTYPES_DESCRIPTION": "Description",
    "servermain.TAG_SCAN_RATE_MILLISECONDS": "Scan Rate", "servermain.TAG_SCALING_RAW_LOW": "Raw Low",
    "servermain.TAG_SCALING_RAW_HIGH": "Raw High", "servermain.TAG_SCALING_SCALED_LOW": "Scaled Low",
    "servermain.TAG_SCALING_SCALED_HIGH": "Scaled High", "servermain.TAG_SCALING_CLAMP_LOW": "Clamp Low",
    "servermain.TAG_SCALING_CLAMP_HIGH": "Clamp High", "servermain.TAG_SCALING_UNITS": "Eng Units",
    "servermain.TAG_SCALING_NEGATE_VALUE": "Negate Value",
}  # fmt: skip
"""Properties of tags, and the columns of a tag list that have the same."""

SCALINGS = {0: "", 1: "Linear", 2: "Square Root"}
ACCESS = {0: "RO", 1: "R/W", 2: "WO"}

MODBUS = {
    "Modbus TCP/IP Ethernet": "modbus_ethernet",
    "Modbus RTU Serial": "modbus",
    "Modbus ASCII Serial": "modbus_ascii",
}
"""Drivers whose tags are translated, and the prefix of their properties."""

OPCUA = "OPC UA Client"

ORDERS = {
    (True, True): ("CDAB", "CDAB"), (True, False): ("CDAB", "CDABGHEF"), (False, True): ("ABCD", "EFGHABCD"),
    (False, False): ("ABCD", "ABCD"),
}  # fmt: skip
"""Orders of 32 and 64 bits by "first word low" and "first DWord low"; with bytes as in Modbus, high first."""

BYTES_SWAPPED = {"ABCD": "BADC", "CDAB": "DCBA", "CDABGHEF": "DCBAHGFE", "EFGHABCD": "FEHGBADC"}

PARITY = {78: "none", 79: "odd", 69: "even"}
POLICIES = {1: "Basic128Rsa15", 2: "Basic256", 3: "Basic256Sha256"}
MODES = {2: "sign"}
_ID = re.compile(r"<?(?P<host>[A-Za-z0-9_.:-]+?)>?\.(?P<unit>\d{1,3})")
_ENCAPSULATED = 3
"""Serial frames over Ethernet."""
_BY_DEVICE = frozenset({1, 2})
"""Scan modes in which the device says the rate: not slower than it, or always it."""


def read(content: Content, options: Options) -> Import:
    """Return the machines of a project: one for each device. Raises `ValueError`."""
    found = Import()
    for channel, where in _channels(content.json):
        driver, name = str(channel.get(DRIVER, "")), str(channel.get(NAME, ""))
        if driver not in MODBUS and driver != OPCUA:
            found.note(
                where, name or "a channel", f"is left out: its driver is {driver or 'missing'}, not Modbus or OPC UA"
            )
            continue
        for number, device in enumerate(_list(channel, "devices")):
            _device(channel, device, f"{where}.devices[{number}]", options, found)
    return found


def _channels(data: Any) -> Iterator[tuple[Node, str]]:  # noqa: ANN401 - what a file has
    """Yield the channels of a project, or a channel alone, with their places."""
    project = data.get("project", data) if isinstance(data, dict) else {}
    prefix = "$.project" if isinstance(data, dict) and "project" in data else "$"
    if not isinstance(project, dict):
        return
    if "channels" in project:
        for number, channel in enumerate(_list(project, "channels")):
            yield channel, f"{prefix}.channels[{number}]"
    elif DRIVER in project:
        yield project, prefix


def _list(node: Node, key: str) -> list[Node]:
    value = node.get(key)
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _device(channel: Node, device: Node, where: str, options: Options, found: Import) -> None:
    """Add the machine of a device."""
    name = str(device.get(NAME) or channel.get(NAME) or "machine")
    if device.get("servermain.DEVICE_DATA_COLLECTION") is False:
        found.note(where, name, "is left out: its data collection is off")
        return
    opcua = channel.get(DRIVER) == OPCUA
    try:
        connection = _server(channel, name, where, found) if opcua else _modbus(channel, device, name, where, found)
        settings = _settings(channel, device, options)
    except ValueError as error:
        found.note(where, name, f"is left out: {error}")
        return
    free = free_name(name)
    machine = Found(free, free, "opcua" if opcua else "modbus", connection, options.area, options.line, where)
    for tag, path, place in _tags(device, "", where):
        try:
            keys = point(_line(tag, device, place), path, settings, found)
        except ValueError as error:
            found.note(place, path or "a tag", f"is left out: {error}")
            continue
        found.add(machine, path, Row(place, keys))
    found.machines.append(machine)


def _tags(node: Node, path: str, where: str) -> Iterator[tuple[Node, str, str]]:
    """Yield each tag of a device or group with its path and its place."""
    for number, tag in enumerate(_list(node, "tags")):
        name = str(tag.get(NAME, ""))
        yield tag, f"{path}.{name}" if path else name, f"{where}.tags[{number}]"
    for number, group in enumerate(_list(node, "tag_groups")):
        name = str(group.get(NAME, ""))
        yield from _tags(group, f"{path}.{name}" if path else name, f"{where}.tag_groups[{number}]")


def _line(tag: Node, device: Node, where: str) -> Line:
    """Return a tag as a row of a tag list. Raises `ValueError` for numbers that are not known."""
    cells = {column: _cell(tag[key]) for key, column in COLUMNS.items() if tag.get(key) is not None}
    kind = _whole(tag, "servermain.TAG_DATA_TYPE", -1)
    array = " Array" if kind >= 20 else ""  # noqa: PLR2004 - as in DATA_TYPES
    cells["Data Type"] = DATA_TYPES.get(kind - 20 if array else kind, str(kind)) + array
    cells["Scaling"] = SCALINGS.get(_whole(tag, "servermain.TAG_SCALING_TYPE", 0), "unknown")
    cells["Client Access"] = ACCESS.get(_whole(tag, "servermain.TAG_READ_WRITE_ACCESS", 0), "")
    rate = device.get("servermain.DEVICE_SCAN_MODE_RATE_MS")
    if rate is not None and _whole(device, "servermain.DEVICE_SCAN_MODE", 0) in _BY_DEVICE:
        cells["Scan Rate"] = _cell(rate)
    return Line(where, cells)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    return f"{finite(value):.15g}" if isinstance(value, int | float) else str(value)


def _whole(node: Node, key: str, default: int) -> int:
    value = node.get(key, default)
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _flag(device: Node, prefix: str, name: str, *, default: bool) -> bool:
    value = device.get(f"{prefix}.{name}", default)
    return bool(value) if isinstance(value, bool | int) else default


def _settings(channel: Node, device: Node, options: Options) -> Device:
    if channel.get(DRIVER) == OPCUA:
        return Device(opcua=True, poll=_whole(device, "opcuaclient.DEVICE_SUBSCRIPTION_UPDATE_MODE", 0) == 1)
    prefix = MODBUS[str(channel.get(DRIVER))]
    words = _flag(device, prefix, "DEVICE_FIRST_WORD_LOW", default=True)
    order, order64 = ORDERS[words, _flag(device, prefix, "DEVICE_FIRST_DWORD_LOW", default=words)]
    if not _flag(device, prefix, "DEVICE_MODBUS_BYTE_ORDER", default=True):
        order, order64 = BYTES_SWAPPED[order], BYTES_SWAPPED[order64]
    return Device(
        order=options.order or order,
        order64=options.order or order64,
        first=1 if _flag(device, prefix, "DEVICE_ZERO_BASED_ADDRESSING", default=True) else 0,
        first_bit=0 if _flag(device, prefix, "DEVICE_ZERO_BASED_BIT_ADDRESSING", default=True) else 1,
        modicon_bits=_flag(device, prefix, "DEVICE_MODICON_BIT_ORDER", default=False),
        decimal_longs=_flag(device, prefix, "DEVICE_TREAT_LONGS_AS_DOUBLE_PRECISION_UNSIGNED_DECIMAL", default=False),
    )


def _modbus(channel: Node, device: Node, name: str, where: str, found: Import) -> Node:
    """Return the connection of a Modbus device. Raises `ValueError` without an address."""
    driver = str(channel.get(DRIVER))
    if MODBUS[driver] == "modbus_ethernet":
        match = _ID.fullmatch(str(device.get("servermain.DEVICE_ID_STRING", "")).strip())
        if not match:
            raise ValueError(
                f"its id {str(device.get('servermain.DEVICE_ID_STRING'))[:40]!r} has no address and unit"
            )
        udp = _whole(device, "modbus_ethernet.DEVICE_ETHERNET_IP_PROTOCOL", 1) == 0
        port = _whole(device, "modbus_ethernet.DEVICE_ETHERNET_PORT_NUMBER", 502)
        scheme = "modbus+udp" if udp else "modbus+tcp"
        connection: Node = {"url": f"{scheme}://{match['host']}:{port}", "unit": int(match["unit"])}
    else:
        connection = _serial(channel, device, name, where, found)
    timeout = _whole(device, "servermain.DEVICE_REQUEST_TIMEOUT_MILLISECONDS", 1000)
    pause = _whole(device, "servermain.DEVICE_INTER_REQUEST_DELAY_MILLISECONDS", 0)
    return connection | without_defaults(
        {"timeout": f"{timeout}ms", "pause": f"{pause}ms"}, timeout="1000ms", pause="0ms"
    )


def _serial(channel: Node, device: Node, name: str, where: str, found: Import) -> Node:
    """Return the connection of a device on a serial line, or of serial frames over Ethernet."""
    prefix = "servermain.CHANNEL_SERIAL_COMMUNICATIONS_"
    unit = str(device.get("servermain.DEVICE_ID_DECIMAL", device.get("servermain.DEVICE_ID_STRING", 1)))
    if not re.fullmatch(r"\d{1,3}", unit):
        raise ValueError(f"its id {unit[:40]!r} is not a unit")
    ascii_mode = channel.get(DRIVER) == "Modbus ASCII Serial"
    if _whole(channel, f"{prefix}PHYSICAL_MEDIUM", 1) == _ENCAPSULATED:
        if ascii_mode:
            raise ValueError("its frames are ASCII over Ethernet, which have none like them here")
        host = next((str(value) for key, value in device.items() if key.endswith("_IP") and value), "localhost")
        port = next((value for key, value in device.items() if key.endswith("_PORT") and isinstance(value, int)), 502)
        found.note(where, name, f"its frames go over Ethernet: check the address {host}:{port}")
        return {"url": f"modbus+rtutcp://{host}:{port}", "unit": int(unit)}
    port = max(1, _whole(channel, f"{prefix}COM_ID", 1))
    found.note(where, name, f"COM{port} is written as /dev/ttyS{port - 1}: correct the serial port")
    connection: Node = {
        "url": f"modbus+{'ascii' if ascii_mode else 'rtu'}:///dev/ttyS{port - 1}",
        "unit": int(unit),
        "baud": _whole(channel, f"{prefix}BAUD_RATE", 19200),
        "parity": PARITY.get(_whole(channel, f"{prefix}PARITY", 78), "none"),
        "stop_bits": _whole(channel, f"{prefix}STOP_BITS", 1),
    }
    if ascii_mode:
        connection["data_bits"] = _whole(channel, f"{prefix}DATA_BITS", 7)
    return connection


def _server(channel: Node, name: str, where: str, found: Import) -> Node:
    """Return the connection of an OPC UA server. Raises `ValueError` without an address."""
    url = str(channel.get("opcuaclient.CHANNEL_UA_SERVER_ENDPOINT_URL", ""))
    if not url:
        raise ValueError("its channel has no endpoint")
    connection: Node = {"url": url}
    policy = _whole(channel, "opcuaclient.CHANNEL_UA_SERVER_SECURITY_POLICY", 3)
    mode = _whole(channel, "opcuaclient.CHANNEL_UA_SERVER_MESSAGE_MODE", 3)
    if policy == 0 or mode == 1:
        connection["security"] = "none"
    elif policy == 3:  # noqa: PLR2004 - as in POLICIES
        connection["security"] = POLICIES[policy]
        connection |= {"security_mode": MODES[mode]} if mode in MODES else {}
    else:
        found.note(where, name, f"{POLICIES.get(policy, policy)} is insecure; the strongest policy is used")
    if user := str(channel.get("opcuaclient.CHANNEL_AUTHENTICATION_USERNAME") or ""):
        secret = f"{free_name(name)}_password"
        connection |= {"username": user, "password": {"secret": secret}}
        found.note(where, name, f"the password is not copied: put it into the secret {secret}")
    return connection


def _recognise(content: Content) -> bool:
    if content.start != "{" or "servermain." not in content.text:
        return False
    return any(True for _ in _channels(content.json))


FORMAT = Format("kepware-json", "project of Kepware (JSON)", _recognise, read)
