"""The help of every command: complete, not cut, and the same text in docs/commands.md."""

from __future__ import annotations

import runpy
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from command_line import ALL, LISTED, Found, lineside, named

from gateway.cli import main
from gateway.cli.examples import EXAMPLES
from gateway.cli.group import complete

ROOT = Path(__file__).parents[2]


def is_cut(line: str) -> bool:
    """Return whether the end of a text is left out. `[PATTERN]...` is an argument that may be repeated."""
    return line.rstrip().endswith(("...", "…")) and not line.rstrip().endswith("]...")


@pytest.mark.parametrize("columns", ["80", "40"])
@pytest.mark.parametrize("one", ALL, ids=named)
def test_help_fits_the_terminal_and_is_not_cut(one: Found, columns: str) -> None:
    """A page that is wider than the terminal is wrapped in the middle of words; a cut sentence says nothing."""
    result = CliRunner(env={"COLUMNS": columns}).invoke(main, [*one.words, "--help"])
    assert result.exit_code == 0, result.output
    prose, _, examples = result.output.partition("\n  Examples:\n")
    wide = [line for line in prose.splitlines() if len(line) > int(columns)]
    assert [line for line in wide if not line.startswith("  -") or columns == "80"] == []
    sentences = prose.partition("\n\n")[2]  # behind the usage, which has CONFIG... for several
    assert not [line for line in sentences.splitlines() if is_cut(line)]
    assert [line for line in examples.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("one", LISTED, ids=named)
def test_every_option_has_a_help_text_and_every_command_an_example(one: Found) -> None:
    """A user who reads the list of options must not need to try them."""
    assert [option.name for option in one.options() if not option.help] == []
    assert one.command.help
    assert any(f"lineside {one.name}" in line for line in EXAMPLES[one.name]), "add a line to gateway/cli/examples.py"
    assert all(line in lineside(*one.words, "--help").output for line in EXAMPLES[one.name])


@pytest.mark.parametrize("group", ["", "spool", "certs"])
def test_list_of_commands_has_a_whole_sentence_for_each(group: str) -> None:
    """`Write the records that wait in the spool of...` does not say how they are written."""
    output = CliRunner(env={"COLUMNS": "80"}).invoke(main, [*group.split(), "--help"]).output
    rows = output.partition("Commands:\n")[2].splitlines()
    assert len(rows) >= 3
    assert not [line for line in rows if is_cut(line)]


@pytest.mark.parametrize("one", LISTED, ids=named)
def test_options_of_the_log_are_accepted_before_and_after_the_command(one: Found) -> None:
    """Users write them where they think of them."""
    after = lineside(*one.words, "--log", "json", "--log-level", "warning", "--help")
    before = lineside("--log", "json", "--log-level", "warning", *one.words, "--help")
    assert (after.exit_code, before.exit_code) == (0, 0)
    wrong = lineside(*one.words, "--log", "xml")
    assert (wrong.exit_code, "'xml' is not one of 'auto', 'json', 'console'" in wrong.output) == (2, True)


def test_log_level_after_the_command_counts() -> None:
    """The last word wins: it is nearer to the work of this moment."""
    seen: list[object] = []

    @click.command()
    @click.pass_context
    def probe(ctx: click.Context) -> None:
        seen.append(dict(ctx.find_root().params))

    original = main.get_command
    try:
        complete(probe, "probe")  # as the group does with its commands
        main.get_command = lambda ctx, name: probe if name == "probe" else original(ctx, name)  # type: ignore[method-assign]
        result = lineside("--log-level", "error", "probe", "--log-level", "debug", "--log", "json")
    finally:
        del main.get_command
    assert result.exit_code == 0, result.output
    assert seen == [{"log": "json", "log_level": "debug"}]


def test_page_of_commands_has_the_present_options() -> None:
    """The page is written by a script; a changed option needs a run of it."""
    script = runpy.run_path(str(ROOT / "tools" / "commands_page.py"))
    page = (ROOT / "docs" / "commands.md").read_text("utf-8")
    assert script["written"](page) == page, "run tools/commands_page.py"
    assert all(f"### lineside {one.name}\n" in page for one in LISTED)
