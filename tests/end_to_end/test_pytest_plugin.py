"""docs/ci.md: the repository that it shows, tested by pytest as it says; and a point that is wrong."""

from __future__ import annotations

import asyncio
import re
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

DOCUMENT = Path(__file__).parents[2] / "docs" / "ci.md"


class Ran(NamedTuple):
    """How a command ended."""

    code: int
    text: str


def blocks() -> dict[str, str]:
    """Return the files that the page shows, by the names above them."""
    text = DOCUMENT.read_text(encoding="utf-8")
    found = re.findall(r"`([\w./]+\.(?:py|yaml))`[^\n]*:\n\n```\w+\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return dict(found)


def repository(folder: Path) -> None:
    """Write the repository that the page shows."""
    for name, content in blocks().items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")


async def run(folder: Path, *command: str) -> Ran:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), 110)
    assert process.returncode is not None
    return Ran(process.returncode, output.decode())


async def pytest_in(folder: Path, *options: str) -> Ran:
    """Run the repository's tests as its CI does; nothing of ours is on the path, and warnings are errors."""
    return await run(folder, "pytest", "-q", "-p", "no:asyncio", "-W", "error", "--strict-markers", *options)


def test_the_page_shows_a_whole_repository() -> None:
    """Every file of its tree, and no other; and the tests are the five lines that it promises."""
    text = DOCUMENT.read_text(encoding="utf-8")
    [tree] = re.findall(r"^```\n(factory.yaml\n.*?)^```", text, re.MULTILINE | re.DOTALL)
    shown = blocks()
    assert set(tree.split()) == set(shown)
    assert len([line for line in shown["tests/test_factory.py"].splitlines() if line.strip()]) <= 5


async def test_the_documented_repository_passes_its_tests(tmp_path: Path):
    """With the plant's own addresses, which nobody has here, and without its secrets."""
    repository(tmp_path)
    ran = await pytest_in(tmp_path)
    assert ran.code == 0, ran.text
    assert "2 passed" in ran.text


async def test_the_documented_commands_do_what_they_say(tmp_path: Path):
    """The workflow runs the same commands."""
    repository(tmp_path)
    [block] = re.findall(r"^```sh\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    workflow = blocks()[".github/workflows/factory.yaml"]
    for line in block.splitlines():
        assert line in workflow
        ran = await run(tmp_path, "gateway", *shlex.split(line)[1:])
        assert ran.code == 0, ran.text
    assert (tmp_path / "check.xml").stat().st_size > 0


async def test_a_wrong_point_makes_a_test_fail_and_says_why(tmp_path: Path):
    """In words, and without the insides of Lineside."""
    repository(tmp_path)
    factory = tmp_path / "factory.yaml"
    drum = '      drum-01: {template: drum, connection: "opc.tcp://10.20.2.21:4840?namespace=urn:acme:drum"}\n'
    factory.write_text(factory.read_text(encoding="utf-8") + drum, encoding="utf-8")
    template = "format: 1\nprotocol: opcua\npoints:\n  speed: {node: s=Speed, type: float}\n"
    copied = template + "  running: {node: s=Speed, type: bool}\n"
    (tmp_path / "machines" / "drum.yaml").write_text(copied, encoding="utf-8")
    (tmp_path / "tests" / "test_factory.py").write_text(
        """\
def test_points(readings):
    for pattern in "press-01/*", "drum-01/speed":
        readings.wait(pattern, within=90)
    readings.wait("*", within=2)
""",
        encoding="utf-8",
    )
    ran = await pytest_in(tmp_path)
    assert ran.code == 1
    assert "1 point has no good reading within 2 s:" in ran.text
    assert "drum-01/running: 0 good, the newest is bad: type_mismatch" in ran.text
    assert "where true or false belongs" in ran.text
    assert "Traceback" not in ran.text
    assert "gateway/trial" not in ran.text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("holding 8", "holdin 8"), "'holdin 8' is not a Modbus address"),
        (("holding 8", "holding 2"), "overlaps registers of pressure"),
    ],
)
async def test_a_factory_that_is_not_right_fails_with_its_mistakes(
    tmp_path: Path, change: tuple[str, str], words: str
):
    """As `validate` and `simulate` report them: with file and line."""
    repository(tmp_path)
    template = tmp_path / "machines" / "press.yaml"
    template.write_text(template.read_text(encoding="utf-8").replace(*change), encoding="utf-8")
    ran = await pytest_in(tmp_path, "-k", "every_point")
    assert ran.code == 1
    assert words in ran.text
    assert "press.yaml:" in ran.text
    assert "Traceback" not in ran.text


async def test_marker_key_and_root_folder_choose_the_factory(tmp_path: Path):
    """In this order; and tests of one configuration share one run."""
    repository(tmp_path)
    for name in "south", "east":
        text = (tmp_path / "factory.yaml").read_text(encoding="utf-8").replace("site: north", f"site: {name}")
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "tests" / "test_factory.py").write_text(
        """\
import pytest

def test_key(simulated_factory, readings):
    assert simulated_factory.factory.factory.site == "south"
    assert {one.path.site for one in readings.wait("press-01/pressure")} == {"south"}

def test_shared(simulated_factory, request):
    assert len(request.getfixturevalue("_lineside_trials")._running) == 1

@pytest.mark.lineside("east.yaml")
def test_marker(simulated_factory):
    assert simulated_factory.factory.factory.site == "east"

def test_a_pattern_that_fits_nothing(readings):
    with pytest.raises(AssertionError, match=r"no point .* matches 'press-9/\\*'; it has press-01/pressure"):
        readings("press-9/*")

def test_too_few(readings):
    with pytest.raises(AssertionError, match=r"press-01/pressure: \\d+ good, the newest [\\d.]+ bar"):
        readings.wait("press-01/pressure", good=10_000, within=1)
""",
        encoding="utf-8",
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\nlineside_config = south.yaml\n", encoding="utf-8")
    ran = await pytest_in(tmp_path)
    assert ran.code == 0, ran.text
    assert "5 passed" in ran.text


async def test_a_project_that_does_not_ask_for_it_notices_nothing(tmp_path: Path):
    """It may have a fixture of that name, and no factory; and nothing of ours is loaded but the plugin."""
    (tmp_path / "test_other.py").write_text(
        """\
import sys

import pytest

@pytest.fixture
def readings():
    return [1, 2, 3]

def test_own(readings):
    assert readings == [1, 2, 3]

def test_light():
    ours = {name for name in sys.modules if name.split(".")[0] in {"gateway", "drivers", "simulators"}}
    assert ours == {"gateway", "gateway.pytest_plugin"}
    assert not {"asyncua", "pymodbus", "amqtt", "pydantic", "structlog"} & set(sys.modules)
""",
        encoding="utf-8",
    )
    ran = await pytest_in(tmp_path)
    assert ran.code == 0, ran.text
    assert "2 passed" in ran.text
