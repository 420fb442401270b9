"""The servers that tests talk to come, go and come back as the tests rely on."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import aiomqtt
import conftest
import pytest
from processes import LOOPBACK, need, until
from servers import Mosquitto

PARENT = """
import asyncio, pathlib, sys
sys.path.insert(0, sys.argv[1])
from processes import Lineside, write_factory
from servers import Mosquitto

STORES = [{"sqlite": {"path": "readings.db"}}]
MACHINE = {"template": "bead-winder", "connection": "modbus+tcp://127.0.0.1"}
LINES = {"line": {"area": "area", "machines": {"m-01": MACHINE}}}

async def start(folder):
    mosquitto = await Mosquitto.start(folder)
    config = write_factory(folder / "factory.yaml", broker={"url": mosquitto.url}, stores=STORES, lines=LINES)
    ingest = await Lineside.start("ingest", config)
    await ingest.logged("ingest.started")
    return mosquitto.pid, ingest.pid

print(*asyncio.run(start(pathlib.Path(sys.argv[2]))), flush=True)
input()
"""


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_a_missing_server_skips_a_test_but_not_in_ci(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    """What CI skips, nobody tests."""
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="no-such-server is not installed"):
        need("no-such-server")


async def test_a_server_is_killed_and_comes_back_on_its_port(tmp_path: Path) -> None:
    mosquitto = Mosquitto(tmp_path)
    assert not mosquitto.answers()
    await mosquitto.up()
    mosquitto.kill()
    assert mosquitto.exit_code == -signal.SIGKILL
    assert not mosquitto.answers()
    await mosquitto.restart()
    await mosquitto.restart()
    assert mosquitto.answers()
    # a signal that comes before its handler is there ends it as well
    assert await mosquitto.stop() in {0, -signal.SIGTERM}


async def test_a_server_is_killed_at_the_end_of_its_scope(tmp_path: Path) -> None:
    """One that ran on until the end of all tests would need processor time of the others."""
    servers = [await Mosquitto.start(tmp_path / scope, scope=scope) for scope in ("function", "module")]
    conftest.end_processes("function")
    assert [server.running for server in servers] == [False, True]
    conftest.end_processes("module")
    assert [server.running for server in servers] == [False, False]


async def test_a_server_says_which_signals_would_end_it(tmp_path: Path) -> None:
    """A broker reloads its rights at a hang-up, but ends at one that comes before it has set its handler."""
    mosquitto = await Mosquitto.start(tmp_path)
    await until(lambda: mosquitto.catches(signal.SIGHUP), "mosquitto has set its handler")
    assert not mosquitto.catches(signal.SIGQUIT)
    mosquitto.signal(signal.SIGHUP)
    async with aiomqtt.Client(LOOPBACK, mosquitto.port, timeout=10):
        assert mosquitto.running, "it has dealt with the signal before it answered"


def test_processes_end_with_the_pytest_that_started_them_when_it_is_killed(tmp_path: Path) -> None:
    """Else a cancelled run would leave brokers behind, and gateways."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(Path(__file__).parent.parent), str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with parent:
        assert parent.stdout is not None
        children = [int(pid) for pid in parent.stdout.readline().split()]
        assert [alive(child) for child in children] == [True, True]
        parent.kill()
    asyncio.run(until(lambda: not any(map(alive, children)), "they have ended"))


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    assert os.getpid() != pid
    return state != "Z"
