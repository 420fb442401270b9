"""Keys of Modbus points and connections, as several formats describe them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.importers.environment import VARIABLE
from gateway.settings.serialize import duration, number

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.importers.found import Found, Import, Where

Keys = dict[str, Any]

ORDERS = {(False, False): "ABCD", (True, False): "CDAB", (False, True): "BADC", (True, True): "DCBA"}
"""Orders by whether the words, and whether the bytes in them, are swapped."""

REGISTERS = {"16": 1, "24": 2, "32": 2, "48": 3, "64": 4}
"""Registers of a number, by the digits at the end of its type."""

PARITY = {"N": "none", "E": "even", "O": "odd"}
"""Parities by their first letter."""

FUNCTIONS = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}
"""Tables by the function that reads them (Modbus, clauses 6.1 to 6.4)."""

LONGEST_TIMEOUT, LONG_TIMEOUT = 60.0, 10.0
"""Seconds: the longest that a connection may wait, and from which on it delays all else on its connection."""

_OWN = frozenset({"url", "unit", "max_registers", "max_bits", "max_gap", "even", "retries", "not_available"})
_HOST = re.compile(r"(?:[\w.:\[\]%-]|\$\{\w+(?::-[\w.:-]*)?\})+")


def raw_keys(raw: str, *, words: bool = False, bytes_: bool = False) -> Keys:
    """Return type and order of a number whose words, and bytes in words, are swapped; defaults are left out."""
    one_register = REGISTERS.get(raw[-2:], 1) == 1
    order = ORDERS[words and not one_register, bytes_]
    found: Keys = {} if raw == "uint16" else {"raw": raw}
    return found if order == "ABCD" or raw[-1] == "8" else found | {"order": order}


def scaled(scale: float, offset: float = 0.0) -> Keys:
    """Return scale and offset as keys; 1 and 0 are left out."""
    found = {"scale": number(float(scale))} if scale != 1 else {}
    return found | ({"offset": number(float(offset))} if offset != 0 else {})


def every(seconds: float) -> Keys:
    """Return a period in seconds as a key. Raises `ValueError` if it is not more than 0."""
    if not 0 < seconds < 1e9:  # noqa: PLR2004 - thirty years
        raise ValueError(f"a period of {seconds:g} s is out of range")
    return {"every": duration(round(seconds, 6))}


def network_url(scheme: str, host: str, port: object) -> str:
    """Return the URL of a device in a network. Raises `ValueError` for a text that is not a host."""
    host = host.strip()
    if not _HOST.fullmatch(host) or not _HOST.fullmatch(str(port)):
        raise ValueError(f"{host[:100]!r} is not a host")
    if ":" in host and "$" not in host:  # IPv6
        host = f"[{host.strip('[]')}]"
    return f"{scheme}://{host}:{port}"


class SerialLine(NamedTuple):
    """Settings of a serial line, as other programs write them."""

    device: str
    baud: int = 9600
    parity: str = "none"
    stop_bits: float = 1
    data_bits: int = 8


def serial_keys(scheme: str, line: SerialLine, where: Where, what: str, found: Import) -> Keys:
    """Return the keys of a connection over a serial line. Raises `ValueError` for settings that are not possible."""
    letter = line.parity.strip()[:1].upper()
    if letter not in PARITY:
        raise ValueError(f"the parity {line.parity[:20]!r} is not none, even or odd")
    if line.stop_bits not in {1, 2}:
        raise ValueError(f"{line.stop_bits:g} stop bits are not possible here; a serial line has 1 or 2")
    if re.search(r"[{}\s]", VARIABLE.sub("", line.device)):
        raise ValueError(f"{line.device[:100]!r} is not the path of a serial port")
    if not line.device.startswith("/"):
        found.note(
            where, what, f"the serial port is {line.device[:100]!r}; write its path, as in /dev/serial/by-id/NAME"
        )
    device = line.device if line.device.startswith("/") else f"/dev/{line.device}"
    keys: Keys = {"url": f"{scheme}://{device}", "baud": line.baud, "parity": PARITY[letter]}
    if line.stop_bits != 1:
        keys["stop_bits"] = int(line.stop_bits)
    if scheme.endswith("ascii"):
        keys["data_bits"] = line.data_bits
    elif line.data_bits != 8:  # noqa: PLR2004 - bits of a byte
        found.note(where, what, f"data bits are 8 in RTU frames, not {line.data_bits}")
    return keys


def timeout(seconds: float | None, where: Where, what: str, found: Import) -> Keys:
    """Return a time to wait for a response as a key, and note where it is long."""
    if seconds is None or seconds <= 0:
        return {}
    if seconds > LONGEST_TIMEOUT:
        found.note(where, what, f"a timeout of {seconds:g} s is not possible here; it is {LONGEST_TIMEOUT:g} s")
        seconds = LONGEST_TIMEOUT
    elif seconds > LONG_TIMEOUT:
        message = "a device that does not respond delays others on its connection as long; 1 s is usual"
        found.note(where, what, f"the timeout is {seconds:g} s: {message}")
    return {"timeout": duration(round(seconds, 6))}


def share_options(machines: Iterable[Found], found: Import) -> None:
    """Give machines at one address the same connection options; the first machine decides."""
    first: dict[str, Found] = {}
    for machine in machines:
        if not isinstance(machine.connection, dict):
            continue
        leader = first.setdefault(str(machine.connection.get("url", "")).lower(), machine)
        theirs = leader.connection
        if leader is machine or not isinstance(theirs, dict):
            continue
        differ = [
            key
            for key in sorted((machine.connection.keys() | theirs.keys()) - _OWN)
            if machine.connection.get(key) != theirs.get(key)
        ]
        for key in differ:
            message = f"{key} is that of {leader.machine}, since both share one connection"
            found.note(machine.where, machine.machine, message)
            machine.connection.pop(key, None)
            if key in theirs:
                machine.connection[key] = theirs[key]
