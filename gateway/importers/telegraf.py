"""Configurations of Telegraf: its inputs `modbus`, `opcua` and `opcua_listener`; other parts are not for us."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.importers import telegraf_modbus, telegraf_opcua
from gateway.importers.base import Format
from gateway.importers.found import Import, Options

if TYPE_CHECKING:
    from gateway.importers.content import Content

READERS = {
    "modbus": telegraf_modbus.read,
    "opcua": telegraf_opcua.read,
    "opcua_listener": telegraf_opcua.read,
}
"""Inputs, and what reads them."""


@dataclass(slots=True)
class Lines:
    """The lines of a TOML file, to find the line of a key: the reader of TOML does not give it."""

    lines: list[str] = field(default_factory=list)

    def sections(self, name: str) -> list[int]:
        """Return where the tables `[[inputs.name]]` begin."""
        head = re.compile(rf"\s*\[\[\s*inputs\.{re.escape(name)}\s*\]\]")
        return [number for number, line in enumerate(self.lines, 1) if head.match(line)]

    def find(self, key: str, value: object = None, start: int = 1) -> int:
        """Return the first line from `start` on where a key is written, with this value where one is given."""
        said = "" if value is None else rf"\s*[\"']?{re.escape(str(value))}[\"']?\s*([,}}#\]]|$)"
        pattern = re.compile(rf"(^|[\s{{,\[.]){re.escape(key)}\s*(=|\]){said}")
        found = (number for number, line in enumerate(self.lines[start - 1 :], start) if _matches(pattern, line))
        return next(found, start)


def _matches(pattern: re.Pattern[str], line: str) -> bool:
    return not line.lstrip().startswith("#") and bool(pattern.search(line))


def read(content: Content, options: Options) -> Import:
    """Return the machines of a configuration. Raises `ValueError` for text that is not TOML or has no such input."""
    text = content.text
    data = tomllib.loads(text)  # its errors are of this kind, and say line and column
    lines = Lines(text.splitlines())
    found = Import()
    every = str(data.get("agent", {}).get("interval", "10s"))
    inputs = data.get("inputs", {})
    for name, plugins in inputs.items():
        starts = lines.sections(name)
        for index, plugin in enumerate(plugins if isinstance(plugins, list) else [plugins]):
            start = starts[index] if index < len(starts) else 1
            if name not in READERS:
                found.note(start, f"inputs.{name}", "is left out: it reads no machine over Modbus or OPC UA")
            else:
                READERS[name](plugin, every, start, lines, options, found)
    for section in sorted(set(data) & {"outputs", "processors", "aggregators", "global_tags"}):
        found.note(1, section, "is left out: stores are written under stores, and tags are the machine's path")
    if not found.machines:
        raise ValueError(f"it has no input {', '.join(READERS)} with anything to read")
    return found


def _recognise(content: Content) -> bool:
    return content.suffix in {".toml", ".conf"} or bool(re.search(r"^\s*\[\[\s*inputs\.", content.text, re.MULTILINE))


FORMAT = Format("telegraf", "configuration of Telegraf (TOML)", _recognise, read)
