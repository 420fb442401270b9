"""Child processes of a test: `lineside` itself, and the base of the real servers in servers.py.

    mosquitto = await Mosquitto.start(tmp_path)
    config = write_factory(tmp_path / "factory.yaml", broker={"url": mosquitto.url}, lines=...)
    gateway = await Lineside.start("run", config)
    await gateway.logged("mqtt.connected")
    mosquitto.kill()
    await mosquitto.restart()

A test closes nothing: its processes end with it (conftest.py), and with pytest, however that ends.
When the test fails, the ends of their logs are in its report.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, TypeVar

import pytest
import yaml
from forked import Forked

from gateway.common.tasks import cancel_and_wait

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

T = TypeVar("T")

Scope = Literal["function", "module", "session"]
"""The scope of a process, as of a fixture: `conftest.py` kills it after the test, the file of tests, or the run."""

LOOPBACK = "127.0.0.1"

NO_DELAY = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
"""The socket options of a client that sends small messages at once; without them, many take 40 ms each."""

STOP_SECONDS = 60.0
"""A process that has not ended so long after SIGTERM fails its test."""

PATIENCE = 90.0
"""Seconds that a test waits for an event: long enough on a machine that is busy with twenty other things.

A test of a promised time has a limit of its own."""

POLL = 0.01
"""Seconds between two polls of a condition; a slow poll is followed by a longer rest."""

REST, LONGEST_REST = 4, 0.5
"""The rest of `until` after a poll, in multiples of the duration of the poll; and its limit in seconds."""

STARTED: list[Process] = []
"""Processes that were started and not forgotten; conftest.py ends them."""

PORTS = range(*map(int, os.environ.get("TEST_PORTS", "10000-20000").split("-")))
"""Where tests have their servers: below the ports that the simulators choose, and those of outgoing connections.

Two runs at the same time have ports of their own: `TEST_PORTS=9000-10000`.
"""

_taken: set[int] = set()


def free_port() -> int:
    """Return a port of the loopback that stays free until it is used, and while its server is down.

    No other worker of this run gets it, nor a simulator that looks for a free port, nor an outgoing connection: a
    client that tries to reach a dead server is not connected to another, or to itself.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    mine = PORTS[worker :: int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))]
    assert len(_taken) < len(mine) // 2, "too many ports for one run"
    while True:
        port = random.SystemRandom().choice(mine)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        if port not in _taken:
            _taken.add(port)
            return port


def need(program: str) -> str:
    """Return where a program is. Without it a test is skipped; in CI, where nothing may be skipped, it fails."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        message = f"{program} is not installed; `make services` installs it"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return found


async def side_by_side(parts: Iterable[Coroutine[object, object, None]]) -> None:
    """Run parts of a test that mostly wait; if one fails, the others end before the test does."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        await asyncio.gather(*tasks)
    finally:
        await cancel_and_wait(*tasks)


async def ends(client: socket.socket) -> None:
    """Wait until the other side ends a connection."""
    client.setblocking(False)  # noqa: FBT003 - of the standard library
    async with asyncio.timeout(PATIENCE):
        with suppress(ConnectionResetError):
            assert await asyncio.get_running_loop().sock_recv(client, 1) == b""


async def until(look: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """Look until there is something (truthy) to see, and return it; the test fails after `seconds`."""
    began = time.monotonic()
    deadline = began + seconds
    while not (found := look()):
        now = time.monotonic()
        if began > deadline:
            pytest.fail(f"{what}: not within {seconds:g} s")
        await asyncio.sleep(max(POLL, min(REST * (now - began), LONGEST_REST)))
        began = time.monotonic()
    return found


COUNTER = """
format: 1
protocol: modbus
defaults: {every: 100ms}
points:
  count: {address: input 0}
"""
"""A template: a machine that counts tenths of a second, so that each reading that should exist is known."""


def write_factory(file: Path, **sections: Any) -> Path:
    """Write a factory's YAML: the given sections, and defaults for the others."""
    usual = {
        "format": 1,
        "factory": {"enterprise": "enterprise", "site": "site"},
        "gateway": {"id": "edge-01"},
    }
    file.write_text(yaml.safe_dump(usual | sections, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return file


class Ran(NamedTuple):
    """The exit code and the output of a command."""

    code: int
    text: str
    error: str


async def lineside(
    *arguments: str, folder: Path | None = None, environment: dict[str, str] | None = None, seconds: float = 240.0
) -> Ran:
    """Run a command of `lineside` to its end, in a folder, and with `environment` alone if it is given."""
    with tempfile.TemporaryDirectory(prefix="lineside-test-") as said:
        output, errors = Path(said) / "output", Path(said) / "errors"
        given = dict(os.environ) if environment is None else environment
        process = Forked(arguments, folder or Path.cwd(), given, output, errors)
        try:
            await until(lambda: process.poll() is not None, f"lineside {' '.join(arguments)} ends", seconds)
        finally:
            process.kill()
        return Ran(process.wait(), output.read_text(encoding="utf-8"), errors.read_text(encoding="utf-8"))


class Process:
    """A child process that can be started, killed and started again. Its output goes to `log`, run after run."""

    def __init__(self, name: str, log: Path, *, scope: Scope = "function") -> None:
        """Prepare; nothing runs. The process is killed at the end of its scope, if it still runs."""
        self.name = name
        self.log = log
        self.scope = scope
        self._process: subprocess.Popen[bytes] | Forked | None = None

    def command(self) -> list[str]:
        """Return the command line."""
        raise NotImplementedError

    def launch(self) -> None:
        """Start the process, and do not wait for anything."""
        assert not self.running, f"{self.name} runs already"
        command = self.command()
        if setpriv := shutil.which("setpriv"):
            # it is killed when pytest dies, even by SIGKILL
            command = [setpriv, "--pdeathsig", "KILL", "--", *command]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.log.parent, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._note()

    def _note(self) -> None:
        if self not in STARTED:
            STARTED.append(self)

    @property
    def pid(self) -> int:
        """The process id of the present, or last, run."""
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code of the last run (-9 after SIGKILL), None while it runs."""
        return None if self._process is None else self._process.poll()

    @property
    def running(self) -> bool:
        """Whether it runs now."""
        return self._process is not None and self._process.poll() is None

    async def ended(self, seconds: float = STOP_SECONDS) -> int:
        """Wait until it has ended by itself, and return the exit code."""
        await until(lambda: not self.running, f"{self.name} ends", seconds)
        code = self.exit_code
        assert code is not None
        return code

    async def stop(self, seconds: float = STOP_SECONDS) -> int:
        """Stop it with SIGTERM, as systemd does, and return the exit code."""
        self.signal(signal.SIGTERM)
        return await self.ended(seconds)

    def terminate(self) -> None:
        """Do as `stop`, for tests that have no event loop."""
        self.signal(signal.SIGTERM)
        assert self._process is not None
        self._process.wait(STOP_SECONDS)

    def kill(self) -> None:
        """Kill it with SIGKILL; when this returns it is dead."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; SIGSTOP freezes it with its connections open, SIGCONT lets it go on."""
        assert self._process is not None, f"{self.name} was never started"
        self._process.send_signal(number)

    def catches(self, number: signal.Signals) -> bool:
        """Return whether it has a handler of a signal, which would end it otherwise (proc(5), SigCgt)."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        except FileNotFoundError:
            return False
        (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
        return bool(int(caught, 16) >> (number - 1) & 1)

    def last_words(self, lines: int = 60) -> str:
        """Return the end of its log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


class Lineside(Process):
    """One `lineside` command. Its folder, and so the default of its spool, is that of its configuration.

    `arguments` go behind the configuration.
    """

    _runs = 0

    def __init__(
        self, command: str, config: Path, *arguments: str, environment: dict[str, str] | None = None
    ) -> None:
        Lineside._runs += 1
        super().__init__(f"lineside {command}", config.parent / f"{command}-{config.stem}-{Lineside._runs}.log")
        self.arguments = [command, str(config), *arguments]
        self._environment = environment or {}
        self._events: list[dict[str, Any]] = []
        self._read = 0

    @classmethod
    async def start(
        cls, command: str, config: Path, *arguments: str, environment: dict[str, str] | None = None
    ) -> Self:
        """Start a command; wait for its events with `logged`."""
        process = cls(command, config, *arguments, environment=environment)
        process.launch()
        return process

    @classmethod
    async def simulate(cls, config: Path, moved: Path, *arguments: str) -> Self:
        """Serve the machines of a configuration on free ports, and wait until `moved` says on which."""
        process = await cls.start("simulate", config, "--ports", "auto", "--write", str(moved), *arguments)
        await process.logged("simulation.started")
        return process

    async def restart(self) -> None:
        """Start the same command again; a process that still runs is stopped in order before."""
        if self.running:
            await self.stop()
        self.launch()

    def launch(self) -> None:
        if "LD_PRELOAD" in self._environment:  # which counts when a program is loaded
            super().launch()
            return
        assert not self.running, f"{self.name} runs already"
        environment = os.environ | self._environment
        self._process = Forked(["--log", "json", *self.arguments], self.log.parent, environment, self.log)
        self._note()

    def command(self) -> list[str]:
        variables = [f"{key}={value}" for key, value in self._environment.items()]
        python = [sys.executable, "-u", "-m", "gateway", "--log", "json"]
        return ["/usr/bin/env", *variables, *python, *self.arguments]

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return the events that all its runs have logged so far; `name` selects one kind of event."""
        with self.log.open("rb") as log:
            log.seek(self._read)
            *lines, _ = log.read().split(b"\n")  # the last one may not be whole yet
        for line in lines:
            self._read += len(line) + 1
            if line.startswith(b"{") and line.endswith(b"}"):
                self._events.append(json.loads(line))
        return [event for event in self._events if name is None or event["event"] == name]

    async def logged(self, name: str, times: int = 1, seconds: float = PATIENCE) -> dict[str, Any]:
        """Wait until it has logged an event (so many times), and return it; the test fails where it ends instead."""

        def look() -> list[dict[str, Any]]:
            ended = not self.running
            found = self.events(name)
            if len(found) < times and ended:
                pytest.fail(f"{self.name} ended with {self.exit_code}, without {name}:\n{self.last_words()}")
            return found[times - 1 :]

        return (await until(look, f"{self.name} logs {name}", seconds))[0]
