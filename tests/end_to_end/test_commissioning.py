"""docs/commissioning.md, from its first command to its last, with the machines simulated."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from processes import STOP_SECONDS, Lineside, lineside
from servers import Mosquitto

from gateway.settings.load import load_factory

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT = Path(__file__).parents[2] / "docs" / "commissioning.md"
BROKER = "mqtt://localhost:1883"
SERVICES = {"simulate": "simulation.started", "run": "gateway.started", "ingest": "ingest.started"}
"""Commands that run until they are stopped, and what they log when they work."""


def blocks() -> Iterator[tuple[str, str, str]]:
    """Yield the fenced blocks: their language, their text, and the line of the document above them."""
    text = DOCUMENT.read_text(encoding="utf-8")
    for match in re.finditer(
        r"^(?P<above>[^\n]*)\n\n```(?P<language>\w*)\n(?P<text>.*?)^```", text, re.MULTILINE | re.DOTALL
    ):
        yield match["language"], match["text"], match["above"]


def follow(plant: Path, language: str, text: str, above: str) -> None:
    """Write a block of YAML to its file, as a reader does."""
    if language != "yaml":
        return
    if name := re.search(r"`(machines/[\w-]+\.yaml)`", above):
        (plant / name[1]).write_text(text, encoding="utf-8")
    else:
        file = plant / "factory.yaml"
        written = file.read_text(encoding="utf-8")
        file.write_text(written[: written.index("lines:")] + text, encoding="utf-8")


REGISTERS = "Register;Name;Typ;Einheit\n40001;Leistung;FLOAT;kW\n40003;Status;U16;\n"
"""A list as a manual has it."""


async def run(folder: Path, line: str) -> str:
    arguments, _, target = line.partition(" > ")
    ran = await lineside(*shlex.split(arguments)[1:], folder=folder)
    assert (line, ran.code) == (line, 0), ran.error
    if " registers.csv " in line:
        assert "registers.csv:1: columns" in ran.error, "the columns that were recognised"
    else:
        assert (line, ran.error) == (line, "")
    if target:
        (folder / target).write_text(ran.text, encoding="utf-8")
    return ran.text


async def test_every_command_of_the_page_does_what_it_says(tmp_path: Path) -> None:
    """A reader who follows it has values after its last command."""
    mosquitto = await Mosquitto.start(tmp_path)
    (tmp_path / "registers.csv").write_text(REGISTERS, encoding="utf-8")
    plant = tmp_path / "plant"
    said: dict[str, str] = {}
    services = []
    for language, text, above in blocks():
        follow(plant, language, text, above)
        for line in text.splitlines() if language == "sh" else ():
            command = shlex.split(line)[1]
            if command in SERVICES:
                config, *options = shlex.split(line)[2:]
                options = [str(tmp_path / option) if "/" in option else option for option in options]
                service = Lineside(command, tmp_path / config, *options)
                service.log = tmp_path / service.log.name  # it works in the folder that the reader is in
                service.launch()
                await service.logged(SERVICES[command], seconds=60)
                services.append(service)
                continue
            if command == "query":
                await stored(tmp_path, line)
            output = await run(tmp_path, line.replace(BROKER, mosquitto.url))
            said[command] = said.get(command, "") + output
    looks_right(tmp_path, said)
    for service in reversed(services):
        assert await service.stop(STOP_SECONDS) == 0


async def stored(folder: Path, line: str) -> None:
    """Wait until every point is stored, which takes a moment: nothing is said to be missing then."""
    async with asyncio.timeout(60):
        while True:
            ran = await lineside(*shlex.split(line)[1:], folder=folder)
            if ran.text and not ran.error:
                return
            await asyncio.sleep(0.2)  # the services need the processor, too


def looks_right(folder: Path, said: dict[str, str]) -> None:
    assert set(said) == {
        "init", "schema", "validate", "show", "plan", "check", "tail", "query", "export-points", "import",
    }  # fmt: skip
    assert [line.split(": ", 1)[1] for line in said["check"].splitlines() if line.startswith("plant/")] == [
        "5 machines, 25 points: 25 good", "5 machines, 25 points: 25 good", "1 machine, 5 points: 5 good",
    ]  # fmt: skip
    assert "compared with the values of the machines: equal" in said["check"]
    assert re.search(r"good +pressure +\S+ bar\s+holding 102 +[0-9A-F]{4} +good", said["check"])
    factory = load_factory(folder / "plant" / "factory.yaml")
    assert [machine.path.machine for machine in factory.machines] == [f"press-0{n}" for n in range(1, 6)]
    assert "oil_level" in said["show"]
    assert "door_open" not in said["show"]
    assert "100 %" not in said["plan"]
    assert len(said["tail"].splitlines()) == 5
    assert all("/pressure" in line and line.rstrip().endswith("good") for line in said["tail"].splitlines())
    assert all("/press-05/" in line for line in said["query"].splitlines())
    copy = load_factory(folder / "copy" / "factory.yaml")
    assert [(one.path, one.points) for one in copy.machines] == [(one.path, one.points) for one in factory.machines]
    meters = load_factory(folder / "meters" / "factory.yaml").machines
    assert [(one.path.machine, sorted(point.name for point in one.points)) for one in meters] == [
        (f"meter-0{n}", ["Leistung", "Status"]) for n in (1, 2)
    ]
    assert sorted(file.name for file in (folder / "copy" / "machines").iterdir()) == ["press-2.yaml", "press.yaml"]
    for kind in "factory", "template":
        place = folder / "plant" / ("machines" if kind == "template" else "") / f"{kind}.schema.json"
        schema: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
        assert schema["title"].startswith(f"A {kind} of Lineside")


@pytest.mark.parametrize("command", ["probe", "browse"])
def test_commands_that_are_named_exist(command: str) -> None:
    """They look at devices, which the page has not."""
    command_line = [sys.executable, "-m", "gateway", command, "--help"]
    assert f"lineside {command}" in DOCUMENT.read_text(encoding="utf-8")
    assert subprocess.run(command_line, capture_output=True, check=False).returncode == 0
