"""The driver of docs/drivers.md, copied from the page, installed as a package, and run."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from processes import LOOPBACK, free_port, until, write_factory
from servers import Mosquitto
from stored import rows

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parent.parent.parent / "docs" / "drivers.md"
VALUES = {"spindle": {"speed": 1200.5}, "parts": 7, "state": "running"}


class Ran:
    """A process that has ended."""

    def __init__(self, code: int, output: str) -> None:
        self.code = code
        self.output = output


class Package:
    """The installed package, and the commands of Lineside that see it."""

    def __init__(self, folder: Path, installed: Path) -> None:
        self.folder = folder
        self.environment = os.environ | {"PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, *arguments, cwd=self.folder, env=self.environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip

    async def run(self, *arguments: str) -> Ran:
        process = await self.start(*arguments)
        async with asyncio.timeout(90):
            output, _ = await process.communicate()
        assert process.returncode is not None
        return Ran(process.returncode, output.decode())

    async def lineside(self, *arguments: str) -> Ran:
        return await self.run("-m", "gateway", *arguments)


def files() -> dict[str, str]:
    """Return the files that the page shows, by their names."""
    shown = r"^<!-- file: (\S+) -->\n```[^\n]*\n(.*?)^```"
    return dict(re.findall(shown, PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    folder, installed = tmp_path_factory.mktemp("package"), tmp_path_factory.mktemp("installed")
    for name, text in files().items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
           "--disable-pip-version-check", "--target", str(installed), str(folder)]  # fmt: skip

    subprocess.run(pip, check=True, timeout=100)
    (folder / "lineside_http.py").unlink()  # so that the installed driver is tested
    return Package(folder, installed)


class _Lathe(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps(VALUES).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def lathe() -> Iterator[int]:
    """Serve the machine; gives its port."""
    server = ThreadingHTTPServer((LOOPBACK, 0), _Lathe)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def factory(package: Package, name: str, port: int, broker: str = "mqtt://localhost:1883") -> Path:
    return write_factory(
        package.folder / f"{name}.yaml",
        gateway={"id": name, "spool": {"folder": str(package.folder / name)}},
        broker={"url": broker},
        ingest={"folder": str(package.folder / name)},
        stores=[{"sqlite": {"path": str(package.folder / f"{name}.db")}}],
        lines={"line": {"area": "area", "machines": {
            "lathe-01": {"template": "lathe", "connection": f"http+json://{LOOPBACK}:{port}/values"}
        }}},
    )  # fmt: skip


async def test_it_keeps_the_contract(package: Package):
    """By the test that the page shows."""
    ran = await package.run("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_lineside_http.py")
    assert ran.code == 0, ran.output
    assert "11 passed" in ran.output


async def test_every_command_knows_its_protocol(package: Package):
    """None of them has names of protocols of its own."""
    with lathe() as port:
        config = str(factory(package, "known", port))
        valid = await package.lineside("validate", config)
        assert valid.code == 0, valid.output
        plan = await package.lineside("plan", config)
        assert "1 requests, 500 bytes" in plan.output
        check = await package.lineside("check", config, "--for", "1s")
        assert check.code == 0, check.output
        assert "1200.5" in check.output
    simulated = await package.lineside("check", config, "--simulated")
    assert simulated.code == 1
    assert "no simulated machine speaks the protocol" in simulated.output
    served = await package.lineside("simulate", config)
    assert served.code == 1
    assert served.output.strip() == "Error: there is no simulator of the protocol http"
    made = await package.lineside(
        "init", "--yes", "--out", "first", "--connection", "http+json://localhost:8080/values", "--template", "drill"
    )
    assert made.code == 0, made.output
    assert "key: spindle.speed" in (package.folder / "first" / "machines" / "drill.yaml").read_text()


async def test_its_readings_are_stored(package: Package, tmp_path: Path):
    """The whole way, as with any other protocol."""
    mosquitto = await Mosquitto.start(tmp_path)
    with lathe() as port:
        config = factory(package, "whole", port, mosquitto.url)
        services = [await package.start("-m", "gateway", command, str(config)) for command in ("ingest", "run")]
        try:
            await until(lambda: len(_values(package.folder / "whole.db")) == 3, "a reading of each point", 60.0)
        finally:
            for service in reversed(services):
                service.terminate()
                await service.communicate()
    assert _values(package.folder / "whole.db") == {"speed": 1200.5, "parts": 7, "state": "running"}


def _values(database: Path) -> dict[str, Any]:
    """Return the newest value of each point."""
    return {row.point: row.value for row in rows(database)} if database.exists() else {}


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise ImportError('libmachine is missing')", "can't be loaded: ImportError"),
        ("PROTOCOL = None", "is a NoneType, not a drivers.base.Protocol"),
        (
            "import dataclasses as d, drivers.modbus as m; PROTOCOL = d.replace(m.PROTOCOL, name='odd', contract=2)",
            "is written against version 2 of the driver contract, and this is version 1",
        ),
        ("from drivers.modbus import PROTOCOL", "calls itself modbus"),
    ],
)
async def test_a_driver_that_can_not_be_used_is_a_problem_of_the_template(tmp_path: Path, code: str, message: str):
    """And of nothing else: other protocols work on."""
    installed = tmp_path / "installed"
    (installed / "odd-1.0.dist-info").mkdir(parents=True)
    (installed / "odd-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n")
    (installed / "odd-1.0.dist-info" / "entry_points.txt").write_text("[lineside.drivers]\nodd = odd:PROTOCOL\n")
    (installed / "odd.py").write_text(code)
    (tmp_path / "machines").mkdir()
    (tmp_path / "machines" / "lathe.yaml").write_text(
        "format: 1\nprotocol: odd\npoints: {a: {address: holding 0, raw: int16}}\n"
    )
    package = Package(tmp_path, installed)
    ran = await package.lineside("validate", str(factory(package, "odd", free_port())))
    assert ran.code == 1
    assert message in ran.output
    assert "lathe.yaml:2:1: protocol: odd:PROTOCOL" in ran.output
    made = await package.lineside("init", "--yes", "--out", "first")
    assert made.code == 0, made.output
