"""Configurations of Telegraf: its inputs `modbus`, `opcua` and `opcua_listener`; other parts are not for us."""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from gateway.importers import telegraf_modbus, telegraf_opcua
from gateway.importers.base import Format
from gateway.importers.environment import read_values, substituted, variables_of
from gateway.importers.found import Import, Options
from gateway.importers.modbus_keys import share_options

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.importers.content import Content

READERS = {
    "modbus": telegraf_modbus.read,
    "opcua": telegraf_opcua.read,
    "opcua_listener": telegraf_opcua.read,
}
"""Inputs, and what reads them."""

MOST_CHARACTERS = 4 * 2**20
"""The length of a configuration."""

_HEAD = re.compile(r"\s*\[\[\s*inputs\.([\w-]+)\s*\]\]")
_KEY = re.compile(r"""(?:^|[\s{,\[.])([\w-]+)\s*(?:=\s*("[^"]*"|'[^']*'|[^\s,}#\]]*)|\])""")


class Lines:
    """The lines of a TOML file, to find the line of a key: the reader of TOML does not give it."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._sections: defaultdict[str, list[int]] = defaultdict(list)
        self._keys: defaultdict[tuple[str, str | None], list[int]] = defaultdict(list)
        for number, line in enumerate(lines, 1):
            if line.lstrip().startswith("#"):
                continue
            if head := _HEAD.match(line):
                self._sections[head[1]].append(number)
            for match in _KEY.finditer(line):
                self._keys[match[1], None].append(number)
                if match[2]:
                    self._keys[match[1], match[2].strip("\"'")].append(number)

    def sections(self, name: str) -> list[int]:
        """Return where the tables `[[inputs.name]]` begin."""
        return self._sections[name]

    def find(self, key: str, value: object = None, start: int = 1) -> int:
        """Return the first line from `start` on where a key is written, with this value where one is given."""
        found = self._keys[key, None if value is None else str(value)]
        place = bisect_left(found, start)
        return found[place] if place < len(found) else start


def read(content: Content, options: Options) -> Import:
    """Return the machines of a configuration. Raises `ValueError` for text that is not TOML or has no such input."""
    values = None if options.env_file is None else read_values(options.env_file)
    if len(content.text) > MOST_CHARACTERS:
        raise ValueError(f"it has more than {MOST_CHARACTERS:,} characters; import it in parts")
    text = substituted(content.text, values)
    data = _parsed(text)
    lines = Lines(text.splitlines())
    found = Import()
    agent = data.get("agent")
    every = str(agent.get("interval", "10s")) if isinstance(agent, dict) else "10s"
    inputs = data.get("inputs")
    for name, plugins in inputs.items() if isinstance(inputs, dict) else ():
        starts = lines.sections(name)
        for index, plugin in enumerate(plugins if isinstance(plugins, list) else [plugins]):
            start = starts[index] if index < len(starts) else 1
            if name not in READERS:
                found.note(start, f"inputs.{name}", "is left out: it reads no machine over Modbus or OPC UA")
            else:
                READERS[name](plugin, every, start, lines, options, found)
    share_options(found.machines, found)
    for machine in found.machines:
        for variable, has_default in variables_of(machine.connection).items():
            hint = "its default is used unless it is set" if has_default else "set it for the gateway"
            message = f"the environment variable {variable} stays a variable; {hint}, or say --env-file"
            found.note(machine.where, machine.machine, message)
    for section in sorted(set(data) & {"outputs", "processors", "aggregators", "global_tags"}):
        found.note(1, section, "is left out: stores are written under stores, and tags are the machine's path")
    known = isinstance(inputs, dict) and any(name in READERS for name in inputs)
    if not found.machines and not (known and found.notes):
        raise ValueError(f"it has no input {', '.join(READERS)} with anything to read")
    return found


def _parsed(text: str) -> dict[str, Any]:
    """Return the data of a text in TOML. Raises `ValueError`."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"it is not TOML: {error}") from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _recognise(content: Content) -> bool:
    return content.suffix in {".toml", ".conf"} or bool(
        re.search(r"^[ \t]*\[\[[ \t]*inputs\.", content.text, re.MULTILINE)
    )


FORMAT = Format("telegraf", "configuration of Telegraf (TOML)", _recognise, read)
