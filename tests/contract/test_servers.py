"""The servers that tests talk to come, go and come back as the tests rely on."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes import need, until
from servers import Mosquitto

PARENT = """
import asyncio, pathlib, sys
sys.path.insert(0, sys.argv[1])
from servers import Mosquitto
mosquitto = asyncio.run(Mosquitto.start(pathlib.Path(sys.argv[2])))
print(mosquitto.pid, flush=True)
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
    assert await mosquitto.stop() == 0


def test_a_server_ends_with_a_pytest_that_was_killed(tmp_path: Path) -> None:
    """Else a cancelled run would leave brokers behind."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(Path(__file__).parent.parent), str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.kill()
    asyncio.run(until(lambda: not alive(child), "the server has ended"))


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    assert os.getpid() != pid
    return state != "Z"
