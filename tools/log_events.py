#!/usr/bin/env python3
"""Compare the log events in the code with their tables in docs/logs.md: names and levels, both ways.

tools/log_events.py           list the differences; exit 1 if there are any
tools/log_events.py --list    print each event with its levels and places in the code
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).resolve().parent.parent

PAGE = ROOT / "docs" / "logs.md"

PACKAGES = ("gateway", "drivers", "simulators")

LEVELS = ("debug", "info", "warning", "error", "critical")

_METHODS = {name: name for name in LEVELS} | {"exception": "error"}

_NAME = re.compile(r"[a-z_]+\.[a-z_]+")

_ROW = re.compile(r"^\| `([a-z_]+\.[a-z_]+)` \| ([a-z, ]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)

_OTHER_ENDINGS = (
    ".py", ".db", ".yaml", ".yml", ".pem", ".der", ".json", ".tcp", ".drivers", ".log", ".txt", ".gz", ".toml",
    ".log_writer", ".db_wal", ".lock", ".parquet", ".html", ".acl", ".conf", ".hocon", ".passwd", ".xml",
    ".pub", ".pth",
)  # fmt: skip
_OTHERS = {"broker.ca", "font.size", "kvar.h", "var.h", "py.warnings", "metrics.listen",
           "dashboard.oidc", "dashboard.tls", "gateway.metrics", "ingest.metrics", "gateway.sign_key",
           "ingest.sign_key", "websocket.accept", "websocket.receive", "websocket.close"}  # fmt: skip
"""Files, schemes, keys, options, loggers and messages of ASGI that look like an event."""

STATES = ("online", "degraded", "offline")
"""The states of `machine.{state}`, an event whose name is put together; see gateway/pipeline/machine_status.py."""


@dataclass(slots=True)
class Event:
    """An event in the code: its levels, empty where no call shows them, and its places."""

    levels: set[str] = field(default_factory=set)
    places: list[str] = field(default_factory=list)


def events_in_code() -> dict[str, Event]:
    """Return every event that a log call, or a table of names, has."""
    found: dict[str, Event] = defaultdict(Event)
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
            levels = {id(node.args[0]): level for node, level in _calls(nodes)}
            for node in nodes:
                if isinstance(node, ast.Constant) and _NAME.fullmatch(str(node.value)):
                    name = str(node.value)
                    if name in _OTHERS or name.endswith(_OTHER_ENDINGS):
                        continue
                    event = found[name]
                    event.places.append(f"{file.relative_to(ROOT)}:{node.lineno}")
                    event.levels |= levels.get(id(node), set())
    for state in STATES:
        found[f"machine.{state}"].levels |= {"info" if state == "online" else "warning"}
    return dict(found)


def _calls(nodes: Iterable[ast.AST]) -> Iterator[tuple[ast.Call, set[str]]]:
    """Yield the calls that log an event, or enter a state, with the level of the event."""
    for node in nodes:
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
            continue
        keywords = {one.arg: one.value for one in node.keywords}
        if node.func.attr in _METHODS:
            yield node, {_METHODS[node.func.attr]}
        elif node.func.attr in {"enter", "_enter"}:
            healthy, level = keywords.get("healthy"), keywords.get("level")
            usual = "info" if isinstance(healthy, ast.Constant) and healthy.value else "warning"
            yield node, {level.value if isinstance(level, ast.Constant) else usual}
        elif node.func.attr in {"_text", "_own"}:  # gateway/common/log_writer.py
            yield node, {"warning"}


def events_in_page() -> dict[str, set[str]]:
    """Return every event of the page with its levels."""
    return {name: set(levels.split(", ")) for name, levels, _, _ in _ROW.findall(PAGE.read_text(encoding="utf-8"))}


def differences() -> list[str]:
    """Return the differences between code and page, as lines of text."""
    code, page = events_in_code(), events_in_page()
    found = [
        f"docs/logs.md: add a row for {name} ({', '.join(code[name].places)})" for name in code if name not in page
    ]
    found += [f"docs/logs.md: remove {name}: no code logs it" for name in page if name not in code]
    for name in sorted(code.keys() & page.keys()):
        if missing := code[name].levels - page[name]:
            found.append(f"docs/logs.md: {name} is logged with the level {', '.join(sorted(missing))}")
    names = [name for name, *_ in _ROW.findall(PAGE.read_text(encoding="utf-8"))]
    found += [f"docs/logs.md: {name} has two rows" for name in sorted({one for one in names if names.count(one) > 1})]
    return found


def main() -> None:
    """Print the differences, or all events."""
    if "--list" in sys.argv[1:]:
        for name, event in sorted(events_in_code().items()):
            print(f"{name:<40} {', '.join(sorted(event.levels)) or '-':<16} {', '.join(event.places)}")
        return
    found = differences()
    print("\n".join(found) or "docs/logs.md has every event of the code")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
