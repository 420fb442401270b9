"""The command line as a shell sees it: pipes, signals, terminals, locales and completion."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from fakes.modbus_server import served, silent
from processes import Process, free_port, until, write_factory

ROOT = Path(__file__).parents[2]
PLANT = str(ROOT / "config" / "tire-plant.yaml")
LINESIDE = [sys.executable, "-m", "gateway"]


def ran(*arguments: str, behind: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end; `behind` goes behind it, as a redirection or a pipe."""
    line = f"{shlex.join([*LINESIDE, *arguments])} {behind}"
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        cwd=ROOT, env=os.environ | environment, capture_output=True, stdin=subprocess.DEVNULL,
        timeout=120, check=False,
    )  # fmt: skip


LONG = [
    ("show", PLANT),
    ("show", PLANT, "--format", "json"),
    ("plan", PLANT, "--requests"),
    ("schema", "factory"),
    ("export-points", PLANT),
]
"""Commands that print more than a pipe holds, or at least more than a line."""


@pytest.mark.parametrize("arguments", LONG, ids=" ".join)
def test_reader_that_has_seen_enough_ends_a_command_quietly(arguments: tuple[str, ...]) -> None:
    """`| head -1` is the first thing that an engineer types."""
    result = ran(*arguments, behind="| (head -1; exec <&-; sleep 0.2)")
    assert result.stderr == b""
    assert result.stdout.count(b"\n") == 1
    assert result.returncode in {0, 141}  # 0 if the pipe had room for all of it


@pytest.mark.parametrize("arguments", LONG, ids=" ".join)
def test_disk_that_is_full_is_reported_once(arguments: tuple[str, ...]) -> None:
    """A redirection into a full disk is a failure, and one line."""
    result = ran(*arguments, behind="> /dev/full")
    assert (result.returncode, result.stderr) == (1, b"Error: No space left on device\n")


def test_closed_output_is_no_failure() -> None:
    """Services are started like this."""
    result = ran("show", PLANT, behind=">&-")
    assert (result.returncode, result.stderr) == (0, b"")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_text_that_the_terminal_lacks_is_escaped(encoding: str, tmp_path: Path) -> None:
    """A machine may be described in Chinese, and a serial console speak ASCII."""
    (tmp_path / "machines").mkdir()
    template = "format: 1\nprotocol: modbus\npoints: {p: {address: holding 1, labels: {0: 关, 1: 开}}}\n"
    (tmp_path / "machines" / "m.yaml").write_text(template, encoding="utf-8")
    machine = {"template": "m", "connection": "modbus+tcp://127.0.0.1:1"}
    config = write_factory(
        tmp_path / "factory.yaml", broker={"url": "mqtt://127.0.0.1:1"},
        lines={"line": {"area": "area", "machines": {"m-01": machine}}},
    )  # fmt: skip
    for arguments in (
        ("show", str(config)),
        ("show", str(config), "--format", "yaml"),
        ("export-points", str(config)),
    ):
        result = ran(*arguments, PYTHONIOENCODING=encoding, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
        assert (result.returncode, result.stderr) == (0, b""), arguments


def test_commands_work_in_the_c_locale_and_without_a_home() -> None:
    """Cron jobs and containers have neither."""
    for arguments in (("validate", PLANT), ("plan", PLANT), ("--help",)):
        result = ran(*arguments, LANG="C", LC_ALL="C", HOME="/nonexistent", TERM="")
        assert (result.returncode, result.stderr) == (0, b""), arguments


def test_port_in_use_is_one_line(tmp_path: Path) -> None:
    """Two simulations of one factory is a frequent mistake."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))
        taken.listen()
        machine = {"template": "curing-press", "connection": f"modbus+tcp://127.0.0.1:{taken.getsockname()[1]}"}
        config = write_factory(
            tmp_path / "factory.yaml", broker={"url": "mqtt://127.0.0.1:1"},
            lines={"line": {"area": "area", "machines": {"m-01": machine}}},
        )  # fmt: skip
        result = ran("simulate", str(config))
    said = [line for line in result.stderr.decode().splitlines() if not line.startswith("{")]
    assert (result.returncode, len(said)) == (1, 1), said
    assert "Traceback" not in said[0]


class Running(Process):
    """A command as a shell starts it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        super().__init__("lineside", folder / "output.log")
        self._arguments = arguments

    def command(self) -> list[str]:
        return [*LINESIDE, *self._arguments]


async def test_ctrl_c_ends_commands_with_130_and_without_a_trace(tmp_path: Path) -> None:
    """In the middle of their work, which waits for a device that says nothing."""
    with served(silent) as (port, server):
        machine = {"template": "curing-press", "connection": f"modbus+tcp://127.0.0.1:{port}?timeout=20"}
        config = write_factory(
            tmp_path / "factory.yaml", broker={"url": "mqtt://127.0.0.1:1"},
            lines={"line": {"area": "area", "machines": {"m-01": machine}}},
        )  # fmt: skip
        for arguments in (
            ("probe", f"modbus+tcp://127.0.0.1:{port}?timeout=20"),
            ("check", str(config), "--timeout", "20s"),
        ):
            asked = len(server.asked)
            command = Running(tmp_path, *arguments)
            command.launch()
            await until(lambda asked=asked: len(server.asked) > asked, "the device is asked")
            command.signal(signal.SIGINT)
            assert await command.ended(20) == 130, command.last_words()
            assert command.last_words().strip() == ""


def test_ctrl_c_while_modules_are_imported_leaves_no_trace(tmp_path: Path) -> None:
    """That is the first half second of most commands."""
    hook = """
import os, signal, sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "click.core":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
"""
    (tmp_path / "sitecustomize.py").write_text(hook)
    result = subprocess.run(
        [*LINESIDE, "validate", PLANT],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (-signal.SIGINT, b"")


async def test_service_that_is_stopped_in_order_ends_with_0(tmp_path: Path) -> None:
    """Ctrl-C is the usual way to stop it."""
    machine = {"template": "curing-press", "connection": "modbus+tcp://127.0.0.1:1"}
    config = write_factory(
        tmp_path / "factory.yaml", broker={"url": "mqtt://127.0.0.1:1"},
        gateway={"id": "edge-01", "spool": {"folder": str(tmp_path / "data")}},
        lines={"line": {"area": "area", "machines": {"m-01": machine}}},
    )  # fmt: skip
    command = Running(tmp_path, "run", str(config), "--log", "json")
    command.launch()
    await until(lambda: '"gateway.started"' in command.last_words(), "it has started")
    command.signal(signal.SIGINT)
    assert await command.ended(20) == 0
    assert "Traceback" not in command.last_words()


# -- a terminal --


def on_a_terminal(*arguments: str, columns: int = 80, **environment: str) -> tuple[int, str]:
    """Run a command in a terminal; returns its exit code and all that it wrote there."""
    own = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [*LINESIDE, *arguments], cwd=ROOT, env=own | {"TERM": "xterm"} | environment,
        stdin=other, stdout=other, stderr=other, start_new_session=True,
    )  # fmt: skip
    os.close(other)
    seen = b""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if not select.select([main], [], [], 1)[0]:
            continue
        try:
            piece = os.read(main, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        seen += piece
    os.close(main)
    return process.wait(30), seen.decode()


def test_narrow_terminal_gets_narrow_help() -> None:
    """A serial console has 40 columns at times."""
    code, text = on_a_terminal("check", "--help", columns=40)
    assert code == 0
    assert max(len(line) for line in text.split("Examples:")[0].splitlines()) <= 40


def test_progress_is_shown_on_a_terminal_and_erased() -> None:
    """A device that says nothing is waited for, and the person sees it."""
    with served(silent) as (port, _):
        url = f"modbus+tcp://127.0.0.1:{port}?timeout=0.4"
        code, text = on_a_terminal("probe", url, "--units", "1", "--per-second", "1000")
        piped = ran("probe", url, "--units", "1", "--per-second", "1000")
    assert code == piped.returncode == 3
    assert "unit 1  " in text
    before, _, last = text.rpartition("\r\x1b[K")
    assert "unit 1  " in before
    assert "none of the units 1 answers" in last
    assert b"\x1b" not in piped.stdout + piped.stderr
    assert len(piped.stderr.splitlines()) == 1


# -- completion --

BASH = """
source <(lineside completion bash)
complete_words() {
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
    _lineside_completion lineside "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
    printf '%s\\n' "${COMPREPLY[@]}"
}
"""


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which `lineside` is this tree's."""
    program = tmp_path / "bin" / "lineside"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom gateway.cli import main\n\nmain()\n")
    program.chmod(0o755)
    return os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize(
    ("words", "some", "never"),
    [
        (["va"], {"validate"}, {"run"}),
        ([""], {"run", "ingest", "check", "spool", "completion"}, {"worker", "embedded-broker"}),
        (["spool", ""], {"status", "export", "adopt", "dead-letters"}, {"run"}),
        (["check", "--jun"], {"--junit"}, {"--simulated"}),
        (["plan", PLANT, "--format", ""], {"text", "json"}, set()),
        (["run", "--log-level", "w"], {"warning"}, {"debug"}),
        (["show", PLANT, "--machine", "press-0"], {"press-01", "press-02"}, {"mixer-01"}),
        (["check", "/nonexistent.yaml", "--machine", ""], set(), {"press-01"}),
        (["completion", ""], {"bash", "zsh", "fish"}, set()),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bash_completes(words: list[str], some: set[str], never: set[str], shell: dict[str, str]) -> None:
    """Commands, options, formats, and the machines of the factory that is named."""
    script = f"{BASH}\ncomplete_words lineside {' '.join(repr(word) for word in words)}"
    result = subprocess.run(
        ["bash", "--norc", "-c", script], env=shell, capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    found = set(result.stdout.split())
    assert some <= found
    assert not never & found


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_scripts_of_all_shells_are_printed(name: str) -> None:
    """They ask the command itself, so that they need not be installed again with a new version."""
    result = ran("completion", name)
    assert result.returncode == 0
    assert f"_LINESIDE_COMPLETE={name}_complete" in result.stdout.decode()
    if shell := shutil.which(name):
        checked = subprocess.run([shell, "-n"], input=result.stdout, capture_output=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, b"")


def test_completion_of_all_commands_imports_none_of_them(shell: dict[str, str]) -> None:
    """A user who presses the tabulator waits for it."""
    environment = shell | {"COMP_WORDS": "lineside ", "COMP_CWORD": "1", "_LINESIDE_COMPLETE": "bash_complete"}
    script = (
        "import sys\nsys.argv = ['lineside']\nfrom gateway.cli import main\n"
        "try: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert "plain,validate" in result.stdout
    assert not {"pydantic", "structlog", "yaml", "gateway.cli.common"} & set(result.stderr.split())


def test_every_command_that_may_wait_shows_progress() -> None:
    """Whatever may take more than two seconds says so on a terminal."""
    source = {file.stem: file.read_text("utf-8") for file in (ROOT / "gateway" / "cli").glob("*.py")}
    shows = {name for name, text in source.items() if re.search(r"\bProgress\(", text)} - {"progress"}
    assert shows >= {"check", "browse", "probe", "plan", "spool", "import_points", "export_points", "reload", "demo"}
