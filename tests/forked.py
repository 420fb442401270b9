"""Processes that run a command of Lineside, forked from a process that has imported it, which saves half a second.

They are as separate as any: with a process id, a log, a folder and an environment of their own, and signals that
reach them alone. Their parent process runs no command, and ends with the process of the tests.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from multiprocessing import forkserver
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

IMPORTED = [
    "gateway.cli",
    "gateway.gateway_service",
    "gateway.ingest_service",
    "gateway.common.logging",
    "gateway.stores.influxdb",
    "gateway.stores.sqlite",
    "drivers.modbus.driver",
    "drivers.opcua.driver",
    "simulators.app",
    "simulators.opcua.address_space",
    "simulators.opcua.standard_nodes",
]
"""Most of the modules that the commands need; the commands import the others themselves."""

SELF_TEST_AFTER = "gateway.self_test.runner.SETTLE"
"""The seconds until a gateway makes its first self-test: a minute by default in place of three seconds.

The self-test is a process of its own, which imports everything again, and costs as much processor time as a test.
"""

CONSTANTS = "TEST_CONSTANTS"
"""The variable of `with_constants`, which the forked process removes before its command begins."""

_PR_SET_PDEATHSIG = 1  # prctl(2)

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(IMPORTED)


def with_constants(**constants: float) -> dict[str, str]:
    """Return the environment of a forked command in which constants of modules have other values.

    It is for pauses that a test is not about: `with_constants(**{"gateway.common.status_file.WRITE_EVERY": 0.5})`.
    A worker that the command starts itself does not have them.
    """
    return {CONSTANTS: json.dumps(constants)}


class Forked:
    """A command that runs, with the few methods of `subprocess.Popen` that tests need."""

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        output: Path,
        errors: Path | None = None,
    ) -> None:
        """Start the process. It appends to `output`, and its errors to `errors`; the files exist at once."""
        files = [output, errors or output]
        for file in files:
            file.touch()
        self._process = _context.Process(
            target=_run, args=(list(arguments), folder, dict(environment), files), daemon=True
        )
        with _without_main():
            self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired("lineside", timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@contextmanager
def _without_main() -> Iterator[None]:
    """Let multiprocessing find no main module, which it would import in each process: pytest, say."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def stop() -> None:
    """End the process that the others were forked from, once they have ended; it is started again if need be."""
    forkserver._forkserver._stop()  # type: ignore[attr-defined] # noqa: SLF001 - and waits: its processor time is ours


_OF_SERVER = "ensure_running", "get_inherited_fds", "connect_to_new_process", "set_forkserver_preload"
"""The functions of the module `forkserver`, which are methods of its one server."""


@contextmanager
def apart() -> Iterator[None]:
    """Fork from another process meanwhile, which is started with the present environment; end it at the end.

    The commands that were started before go on: those of a session live as long as the process that forked them.
    """
    before = forkserver._forkserver  # type: ignore[attr-defined] # noqa: SLF001 - there is no other way
    own = forkserver.ForkServer()
    own.set_forkserver_preload(IMPORTED)
    _use(own)
    try:
        yield
    finally:
        _use(before)
        own._stop()  # noqa: SLF001 - as in `stop`


def _use(server: forkserver.ForkServer) -> None:
    forkserver._forkserver = server  # noqa: SLF001 - there is no other way
    for name in _OF_SERVER:
        setattr(forkserver, name, getattr(server, name))


def _run(arguments: list[str], folder: Path, environment: dict[str, str], files: list[Path]) -> None:
    # a forked process must not keep its parent alive, and is killed when the parent ends
    os.close(forkserver._forkserver._forkserver_alive_fd)  # type: ignore[attr-defined] # noqa: SLF001
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    gc.freeze()  # the modules, which each collection of the command would visit
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # another than that of the tests, maybe
    os.chdir(folder)
    for stream, file in zip((sys.stdout, sys.stderr), files, strict=True):
        os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND), stream.fileno())
    sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr] # as with python -u
    constants = {SELF_TEST_AFTER: 60.0} | json.loads(os.environ.pop(CONSTANTS, "{}"))
    for name, value in constants.items():
        place, _, constant = name.rpartition(".")
        module = importlib.import_module(place)
        assert hasattr(module, constant), name
        setattr(module, constant, value)
    from gateway.cli import main

    main(arguments, prog_name="lineside")
