"""Processes of a measurement: start them, measure their processor time and memory, and end them with their parent."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import psutil

from simulators.ports import LOOPBACK, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

SPAWN = multiprocessing.get_context("spawn")

START_SECONDS = 60.0
STOP_SECONDS = 15.0
POLL = 0.01

_CPUCLOCK_SCHED = 2
"""Of the kernel: the kind of a processor clock, in its lowest bits."""


class Failed(Exception):
    """A process did not start, ended too early, or delivered nothing; the text shows the end of its log."""


class TooSlow(Failed):
    """A product delivers fewer values than the plant has; the text has both rates."""


def raise_file_limit() -> None:
    """Allow as many open files as the system permits: a thousand connections are more than the usual 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def end_on_sigterm() -> None:
    """Turn SIGTERM into an exit that ends all child processes."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


class Usage(NamedTuple):
    """Resources of a process and its children at one moment: processor seconds (user and system), bytes, numbers."""

    processor: float
    memory: int
    files: int
    threads: int


def processor_time(pid: int) -> float:
    """Return the processor seconds of all threads of a process, in nanoseconds of resolution.

    It is the process's own clock of Linux, `clock_getcpuclockid(3)`. The times in `/proc`, which psutil reads, are
    multiples of 10 ms, a tenth of the cost of a small plant in ten seconds. Raises `OSError` if there is no such process.
    """
    return time.clock_gettime(~pid << 3 | _CPUCLOCK_SCHED)


def usage(pid: int) -> Usage:
    """Return the usage of a process, its children, and the processor time of children that have ended.

    Raises `psutil.NoSuchProcess`.
    """
    process = psutil.Process(pid)
    processor, memory, files, threads = 0.0, 0, 0, 0
    for one in (process, *process.children(recursive=True)):
        try:
            with one.oneshot():
                processor += processor_time(one.pid)
                if one is process:
                    times = one.cpu_times()
                    processor += times.children_user + times.children_system
                memory += one.memory_info().rss
                files += one.num_fds()
                threads += one.num_threads()
        except (psutil.NoSuchProcess, OSError):
            if one is process:
                raise psutil.NoSuchProcess(pid) from None
    return Usage(processor, memory, files, threads)


class Process:
    """A program whose output goes to a log. Use it as a context: it is stopped at the end, and killed if need be."""

    def __init__(
        self, name: str, log: Path, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log = log
        self._command = list(command)
        self._environment = os.environ | (environment or {})
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start the program in the folder of its log."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self.log.parent,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def usage(self) -> Usage:
        """Return its usage. Raises `Failed` if it has ended."""
        try:
            if self.running:
                return usage(self.pid)
        except psutil.NoSuchProcess:
            pass
        raise Failed(f"{self.name} has ended:\n{self.last_words()}")

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Stop it with SIGTERM, and kill it and its children after `seconds`."""
        if self._process is None or self._process.poll() is not None:
            return
        children = psutil.Process(self.pid).children(recursive=True)
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for child in children:
            if child.is_running():
                child.kill()

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def wait_for_log(self, text: str, seconds: float = START_SECONDS) -> None:
        """Wait until the log contains a text. Raises `Failed`."""
        self.wait_for(lambda: text in self.log.read_text("utf-8", errors="replace"), text, seconds)

    def wait_for_port(self, port: int, seconds: float = START_SECONDS) -> None:
        """Wait until it accepts connections. Raises `Failed`."""
        self.wait_for(lambda: listens(port), f"port {port}", seconds)

    def wait_for(self, look: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
        """Wait until `look` returns True. Raises `Failed` when the process ends or after `seconds`."""
        deadline = time.monotonic() + seconds
        while not look():
            if not self.running or time.monotonic() > deadline:
                raise Failed(f"{self.name}: {what} was not seen within {seconds:g} s:\n{self.last_words()}")
            time.sleep(POLL)

    def last_words(self, lines: int = 8) -> str:
        """Return the end of its log."""
        return "\n".join(self.log.read_text("utf-8", errors="replace").splitlines()[-lines:])


def listens(port: int) -> bool:
    """Return whether a port of the loopback accepts connections."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=1.0).close()
    except OSError:
        return False
    return True


class Mosquitto(Process):
    """A Mosquitto with its default settings, but without a limit for the queue of the subscriber that measures."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        binary = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if binary is None:
            raise Failed("mosquitto is not installed; `make services` installs it")
        self.port = port or free_port()
        file = folder / "mosquitto.conf"
        file.write_text(
            f"listener {self.port} {LOOPBACK}\nallow_anonymous true\nmax_queued_messages 0\n", encoding="utf-8"
        )
        super().__init__("mosquitto", folder / "mosquitto.log", [binary, "-c", str(file)])

    def start(self) -> Self:
        super().start()
        self.wait_for_port(self.port)
        return self


class Helper:
    """A function in a process of its own, called with an event to set when it is ready. It is killed at the end."""

    def __init__(self, target: Callable[..., None], *arguments: Any) -> None:
        self._ready = SPAWN.Event()
        self.process = SPAWN.Process(target=target, args=(*arguments, self._ready), daemon=True)

    def __enter__(self) -> Self:
        self.process.start()
        deadline = time.monotonic() + START_SECONDS
        while not self._ready.wait(0.2):
            if not self.process.is_alive() or time.monotonic() > deadline:
                self.process.kill()
                raise Failed(f"{self.process.name} did not start within {START_SECONDS:g} s")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.join()
