"""Optional libraries: one table, the same as pyproject.toml, and one line for each that is missing."""

from __future__ import annotations

import asyncio
import shlex
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from command_line import ALL, Found, named
from processes import write_factory

from drivers import extras
from drivers.base import Misconfigured
from drivers.extras import EXTRAS, MissingExtra, instruction, is_installed, require
from drivers.modbus.connection import ModbusConnection
from drivers.modbus.transport import open_serial
from gateway.cli import main
from gateway.settings.templates import bundled_config

ROOT = Path(__file__).parents[2]
PLANT = str(bundled_config() / "tire-plant.yaml")
DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]


def requirements(name: str) -> list[str]:
    """Return the requirements of an extra, with those of the extras that it contains."""
    found: list[str] = []
    for one in DECLARED[name]:
        inner = one.removeprefix("lineside[").removesuffix("]")
        found += [one] if inner == one else [each for extra in inner.split(",") for each in requirements(extra)]
    return found


def block(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let the libraries of extras be missing, of all without a name."""
    for name in names or EXTRAS:
        for module in EXTRAS[name].modules:
            for loaded in [one for one in sys.modules if one.partition(".")[0] == module]:
                monkeypatch.delitem(sys.modules, loaded)
            monkeypatch.setitem(sys.modules, module, None)


def test_table_is_that_of_the_project() -> None:
    """The command that a user types must install the same libraries as the wheel."""
    assert {name: sorted(extra.requirements) for name, extra in EXTRAS.items()} == {
        name: sorted(requirements(name)) for name in DECLARED
    }


@pytest.mark.parametrize("name", EXTRAS)
def test_missing_library_is_one_line_with_the_command_to_type(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command installs into the environment that runs, wherever that is, and a shell accepts it as it is."""
    require(name)
    block(monkeypatch, name)
    assert not is_installed(name)
    with pytest.raises(MissingExtra) as caught:
        require(name)
    text = str(caught.value)
    assert "\n" not in text
    assert f"needs the extra {name}; install it with: " in text
    command = shlex.split(text.partition("install it with: ")[2])
    assert command == [sys.executable, "-m", "pip", "install", *EXTRAS[name].requirements]


def test_environment_without_pip_gets_a_command_that_works_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Environments made by uv have no pip."""
    monkeypatch.setitem(sys.modules, "pip", None)
    command = shlex.split(instruction("serial").partition("install it with: ")[2])
    assert command == ["uv", "pip", "install", "--python", sys.executable, "pyserial>=3.5"]


@pytest.mark.parametrize("one", ALL, ids=named)
def test_every_command_explains_itself_without_any_extra(one: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    """The help of an edge box is that of a laptop."""
    block(monkeypatch)
    result = CliRunner().invoke(main, [*one.words, "--help"])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("extra", "arguments"),
    [
        ("simulators", ["simulate", PLANT]),
        ("plot", ["simulate", PLANT, "--plot", "press-01", "x.png"]),
        ("demo", ["check", PLANT, "--simulated"]),
        ("demo", ["demo", "--for", "1s"]),
        ("demo", ["embedded-broker", "--port", "1"]),
    ],
)
def test_command_without_its_extra_ends_with_one_line(
    extra: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing is made, and nothing is started."""
    monkeypatch.chdir(tmp_path)
    block(monkeypatch, extra)
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert f"needs the extra {extra}; install it with: " in line
    assert list(tmp_path.iterdir()) == []


def test_installation_without_the_simulated_machines_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image for edge boxes leaves them out, and no library brings them back."""
    block(monkeypatch)
    for loaded in [one for one in sys.modules if one.partition(".")[0] == "simulators"]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, "simulators", None)
    for arguments in (["simulate", PLANT], ["simulate", "--faults"], ["demo"], ["check", PLANT, "--simulated"]):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 1, result.output
        assert "needs the package simulators, which this installation of Lineside leaves out" in result.stderr


def factory(folder: Path, **sections: object) -> str:
    (folder / "machines").mkdir()
    (folder / "machines" / "meter.yaml").write_text(
        "format: 1\nprotocol: modbus\npoints: {p: {address: holding 1}}\n"
    )
    machine = {"template": "meter", "connection": "modbus+rtu:///dev/ttyS99?unit=1"}
    usual = {
        "broker": {"url": "mqtt://127.0.0.1:1"},
        "lines": {"line": {"area": "area", "machines": {"m-01": machine}}},
    }
    return str(write_factory(folder / "factory.yaml", **(usual | sections)))


def test_ingest_into_influxdb_without_its_library_ends_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It tried again and again, each time with a trace."""
    monkeypatch.chdir(tmp_path)
    block(monkeypatch, "influxdb")
    store = {"influxdb": {"url": "http://127.0.0.1:1", "bucket": "b", "org": "o"}}
    result = CliRunner().invoke(main, ["ingest", factory(tmp_path, stores=[store])])
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    said = [line for line in result.stderr.splitlines() if not line.startswith("{")]
    assert len(said) == 1
    assert "the store influxdb needs the extra influxdb; install it with: " in said[0]


def test_codec_without_its_library_is_an_error_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """All commands find it before they begin."""
    from gateway.codecs import binary

    binary._zstd.cache_clear()  # noqa: SLF001 - as in a new process
    request.addfinalizer(binary._zstd.cache_clear)  # noqa: SLF001 - as above
    block(monkeypatch, "zstd")
    config = factory(tmp_path, gateway={"id": "edge-01", "codec": "binary"})
    result = CliRunner().invoke(main, ["validate", config])
    assert result.exit_code == 1
    assert "gateway.codec: codec binary needs the extra zstd; install it with: " in result.output


def test_serial_line_without_its_library_concerns_its_machines_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway goes on with its other machines, and logs the command to type."""
    block(monkeypatch, "serial")
    connection = ModbusConnection.from_url("modbus+rtu:///dev/ttyS99?unit=1", {})
    with pytest.raises(Misconfigured, match="a serial line needs the extra serial; install it with: "):
        open_serial(connection, asyncio.Protocol())  # type: ignore[arg-type] # never used


def test_check_of_a_serial_line_without_its_library_says_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a finding about the machine."""
    block(monkeypatch, "serial")
    result = CliRunner().invoke(main, ["check", factory(tmp_path), "--timeout", "1s"])
    assert result.exit_code == 1
    assert "the extra serial; install it with:" in " ".join(result.output.split())


def test_nothing_in_the_documents_installs_lineside_from_an_index() -> None:
    """The name is not on a public index: a stranger who uses it there could run code on a reader's machine."""
    for document in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for line in document.read_text("utf-8").splitlines():
            assert "pip install lineside" not in line, document
            assert "pip install 'lineside[" not in line, document


def test_absence_is_found_without_an_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check of the installed libraries must not load a library of 40 MB."""
    monkeypatch.setattr(extras, "EXTRAS", EXTRAS | {"x": EXTRAS["serial"]._replace(modules=("this",))})
    monkeypatch.delitem(sys.modules, "this", raising=False)
    assert is_installed("x")
    assert "this" not in sys.modules
