"""How every command fails: with an exit code of the documented table, and never with a stack trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import pytest
from command_line import ALL, LISTED, OF_A_FACTORY, Found, lineside, named, needed_after_config

from gateway.cli import common, main
from gateway.settings.templates import bundled_config

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

PLANT = str(bundled_config() / "tire-plant.yaml")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some commands write into the present folder."""
    monkeypatch.chdir(tmp_path)


READING = [
    # which reads the journal of the services, too
    pytest.param(one, marks=pytest.mark.services if one.name == "diagnose" else ())
    for one in OF_A_FACTORY
]
"""Commands of a factory, whose files they read before anything else."""


def assert_clean(result: Result, code: int) -> None:
    """Check that a command ended with an exit code, with text on standard error, and without a trace."""
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == code, result.output
    assert result.stderr.strip()
    assert "Traceback" not in result.output


def run(one: Found, config: str) -> Result:
    return lineside(*one.words, config, *needed_after_config(one))


def test_most_commands_read_a_factory() -> None:
    """Otherwise the tests below would test little."""
    assert len(OF_A_FACTORY) >= 15
    assert len(ALL) > len(LISTED) > len(OF_A_FACTORY)


@pytest.mark.parametrize("one", ALL, ids=named)
def test_wrong_option_is_a_usage_error_with_a_hint(one: Found) -> None:
    """The hint names the help, and the option that was probably meant."""
    result = lineside(*one.words, "--hepl")
    assert_clean(result, 2)
    assert "No such option" in result.stderr
    assert "for help" in result.stderr


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["validat"], "did you mean 'validate'?"),
        (["spool", "stat"], "did you mean 'status'?"),
        (["certs", "xyz"], "there are: list, reject, show, trust"),
        (["work"], "there are: "),
    ],
)
def test_unknown_command_names_the_one_that_was_meant(words: list[str], hint: str) -> None:
    """A typing error is seen at once."""
    result = lineside(*words)
    assert_clean(result, 2)
    assert f"No such command {words[-1]!r}; {hint}" in result.stderr
    assert "embedded-broker" not in result.stderr, "hidden commands stay hidden"


@pytest.mark.parametrize("one", OF_A_FACTORY, ids=named)
def test_missing_configuration_is_one_line(one: Found, tmp_path: Path) -> None:
    """It is the most frequent mistake."""
    file = tmp_path / "none.yaml"
    result = run(one, str(file))
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in {1, 2}, result.output
    if one.name != "health":  # to which a name that is not a file is a folder without services
        assert "does not exist" in result.stderr or "No such file" in result.stderr
    said = [line for line in result.stderr.splitlines() if not line.startswith(("Usage:", "Try "))]
    assert len([line for line in said if line]) <= (2 if one.name == "validate" else 1), result.stderr


@pytest.mark.parametrize("one", OF_A_FACTORY, ids=named)
def test_folder_in_place_of_a_configuration_is_refused(one: Found, tmp_path: Path) -> None:
    """`health` and `certs` accept folders of their own kind, and find nothing in an empty folder."""
    result = run(one, str(tmp_path))
    assert "Traceback" not in result.output
    if one.words[0] in {"health", "certs"}:
        assert result.exit_code in {0, 1}, result.output
    else:
        assert_clean(result, 2)
        assert "is a directory" in result.stderr


UNREADABLE = "/proc/self/mem"
"""A file that exists and whose content can't be read, not even by root."""


@pytest.mark.parametrize("one", READING, ids=named)
def test_unreadable_configuration_is_one_line(one: Found) -> None:
    """Rights and broken disks look alike."""
    result = run(one, UNREADABLE)
    assert_clean(result, 1)
    assert "Input/output error" in result.stderr


LAUGHS = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))

HOSTILE = {
    "deep": (b"a: " + b"[" * 10_000 + b"]" * 10_000, "is nested deeper than 64 levels"),
    "deep mapping": (b"a: " + b"{a: " * 10_000 + b"}" * 10_000, "is nested deeper than 64 levels"),
    "billion laughs": (f"a0: &a0 x\n{LAUGHS}\n".encode(), "the aliases of this file stand for more than"),
    "binary": (b"\x7fELF\x02\x01\x01" + bytes(100), "is not YAML: control character"),
    "another encoding": ("Drehzahl: gr\u00f6\u00dfer".encode("latin-1"), "is not UTF-8"),
    "empty": (b"", "is empty"),
    "a list": (b"- a\n- b\n", "is not a mapping of keys to values"),
    "a text": (b"hello", "is not a mapping of keys to values"),
    "wide": (b"a: '" + b"x" * 1_000_000 + b"'\n", "format is missing"),
}

LARGE = {"billion laughs", "wide"}
"""Kinds that take longest. All commands read a configuration with the same code, so some of them try these."""


@pytest.mark.parametrize("kind", sorted(HOSTILE.keys() - LARGE))
@pytest.mark.parametrize("one", READING, ids=named)
def test_hostile_configuration_is_refused_with_its_place(one: Found, kind: str, tmp_path: Path) -> None:
    """A file from a mail ends no command in a trace, and none takes minutes over it."""
    assert_refused(one, kind, tmp_path)


@pytest.mark.parametrize("kind", sorted(LARGE))
@pytest.mark.parametrize("one", [one for one in OF_A_FACTORY if one.name in {"run", "ingest", "validate"}], ids=named)
def test_large_configuration_is_refused_soon(one: Found, kind: str, tmp_path: Path) -> None:
    assert_refused(one, kind, tmp_path)


def assert_refused(one: Found, kind: str, tmp_path: Path) -> None:
    """Run a command with a hostile file, and check its one line."""
    content, message = HOSTILE[kind]
    file = tmp_path / "factory.yaml"
    file.write_bytes(content)
    result = run(one, str(file))
    assert_clean(result, 1)
    assert message in result.stderr
    assert f"{file}:{'' if kind == 'billion laughs' else '1:'}" in result.stderr
    assert len(result.stderr) < 20_000


WRITTEN = [
    (one, option)
    for one in LISTED
    for option in one.options()
    if option.type in {common.OUTPUT_FILE, common.OUTPUT_FOLDER}
]


def test_files_to_write_are_known_by_their_type() -> None:
    """A new option for an output file uses the type that checks it."""
    # written by another program; read, with errors of their own
    loose = {"simulate --control", "sign --key"}
    for one in LISTED:
        for option in one.options():
            if isinstance(option.type, click.Path) and option.type not in {common.OUTPUT_FILE, common.OUTPUT_FOLDER}:
                name = f"{one.name} {option.opts[0]}"
                assert name in loose or option.opts[0] in {"--config", "-c"} or option.type.exists, name
    assert len(WRITTEN) >= 10


@pytest.mark.parametrize(("one", "option"), WRITTEN, ids=[f"{one.name} {option.opts[0]}" for one, option in WRITTEN])
def test_output_that_can_not_be_written_is_found_before_the_work(
    one: Found, option: click.Option, tmp_path: Path
) -> None:
    """A report that is lost at the end of a shift helps nobody."""
    file = tmp_path / "file"
    file.touch()
    arguments = {
        "browse": ("opc.tcp://127.0.0.1:1?security=none",),
        "probe": ("modbus+tcp://127.0.0.1:1",),
        "demo": ("--for", "1s"),
        "import": (str(file),),
        "init": ("--yes",),
    }.get(one.name, (PLANT,))
    required = tuple(word for word in needed_after_config(one) if one.reads_a_factory)
    result = lineside(*one.words, *arguments, *required, option.opts[0], str(file / "below" / "file"))
    assert_clean(result, 2)
    assert str(file) in result.stderr
    assert list(tmp_path.iterdir()) == [file]
    assert file.is_file()


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (OSError(28, "No space left on device", "/data/plan.txt"), 1, "/data/plan.txt: No space left on device"),
        (PermissionError(13, "Permission denied", b"/data/x"), 1, "/data/x: Permission denied"),
        (OSError("the broker has gone"), 1, "the broker has gone"),
        (KeyboardInterrupt(), 130, ""),
        (click.Abort(), 130, ""),
        (BrokenPipeError(32, "Broken pipe"), 141, ""),
    ],
    ids=repr,
)
def test_each_kind_of_failure_has_its_exit_code(
    error: BaseException, code: int, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scripts decide by the code, and people by the line."""

    @click.command()
    def failing() -> None:
        raise error

    monkeypatch.setattr(main, "get_command", lambda _ctx, _name: failing)
    result = lineside("failing")
    assert (result.exit_code, result.stdout) == (code, "")
    assert text in result.stderr
    assert len(result.stderr.splitlines()) <= 1


def test_devices_and_stores_that_do_not_answer_have_a_code_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script tries again later, but it would report a finding."""
    from drivers.base import Misconfigured, NotConnected
    from drivers.extras import MissingExtra
    from drivers.secret import MissingSecret
    from gateway.stores.base import StoreError, Unavailable

    kinds = {NotConnected: 3, Unavailable: 3, Misconfigured: 1, StoreError: 1, MissingSecret: 1, MissingExtra: 1}
    for kind, code in kinds.items():

        @click.command()
        def failing(kind: type[Exception] = kind) -> None:
            raise kind("10.0.0.1 says nothing")

        monkeypatch.setattr(main, "get_command", lambda _ctx, _name, failing=failing: failing)
        result = lineside("failing")
        assert (result.exit_code, result.stderr) == (code, "Error: 10.0.0.1 says nothing\n"), kind


def test_mistake_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect needs its trace to be mended."""

    @click.command()
    def failing() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(main, "get_command", lambda _ctx, _name: failing)
    assert isinstance(lineside("failing").exception, ZeroDivisionError)


def test_questions_without_an_answer_end_with_an_instruction(tmp_path: Path) -> None:
    """A script that starts `init` without a terminal must not wait, nor end with `Aborted!`."""
    result = lineside("init", "--out", str(tmp_path / "plant"), input="")
    assert_clean(result, 2)
    assert "write --enterprise, or --yes for the defaults" in result.stderr
    assert not (tmp_path / "plant").exists()
