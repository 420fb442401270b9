"""Manual pages and the completion of the shell, made from the commands and their help."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click
from click.shell_completion import BashComplete
from project import NAME, build_date, version

from gateway.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator


def manual_pages() -> dict[str, str]:
    """Return every manual page of section 1, by its file name: of `lineside`, and of each of its commands."""
    context = click.Context(main, info_name=NAME)
    return {f"{'-'.join(path.split())}.1": text for path, text in _pages(main, context)}


def bash_completion() -> str:
    """Return the script that completes the commands and options in bash."""
    variable = f"_{NAME.upper()}_COMPLETE"
    script = BashComplete(main, {}, NAME, variable)
    return script.source_template % script.source_vars()


def _pages(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    commands = dict(_commands(command, context))
    yield context.command_path, _page(command, context, list(commands))
    for name, sub in commands.items():
        yield from _pages(sub, click.Context(sub, parent=context, info_name=name))


def _commands(command: click.Command, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            sub = command.get_command(context, name)
            if sub is not None and not sub.hidden:
                yield name, sub


def _page(command: click.Command, context: click.Context, subcommands: list[str]) -> str:
    path = context.command_path
    name = path.replace(" ", "-")
    lines = [
        f'.TH "{_text(name).upper()}" "1" "{build_date():%Y-%m-%d}" "Lineside {version()}" "Lineside"',
        ".SH NAME",
        rf"{_text(name)} \- {_text(command.get_short_help_str(200).rstrip('.'))}",
        ".SH SYNOPSIS",
        rf"\fB{_text(path)}\fR {_text(' '.join(command.collect_usage_pieces(context)))}",
        ".SH DESCRIPTION",
        *_paragraphs(command.help or ""),
    ]
    records = [record for one in command.get_params(context) if (record := one.get_help_record(context))]
    if records:
        lines.append(".SH OPTIONS")
        for option, text in records:
            lines += [".TP", rf"\fB{_text(option)}\fR", _text(text) or r"\&"]
    if subcommands:
        lines.append(".SH COMMANDS")
        for one in subcommands:
            sub = command.get_command(context, one) if isinstance(command, click.Group) else None
            lines += [
                ".TP",
                rf"\fB{_text(name)}\-{_text(one)}\fR(1)",
                _text(sub.get_short_help_str(200) if sub else ""),
            ]
    parent = context.parent.command_path.replace(" ", "-") if context.parent else ""
    if parent:
        lines += [".SH SEE ALSO", rf"\fB{_text(parent)}\fR(1)"]
    return "\n".join(lines) + "\n"


def _paragraphs(text: str) -> Iterator[str]:
    """Yield the paragraphs of a help text as roff; a paragraph after a backspace keeps its lines, as in click."""
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text.strip())):
        if number:
            yield ".PP"
        if paragraph.startswith("\b"):
            yield from (".nf", *(_text(line) for line in paragraph.splitlines()[1:]), ".fi")
        else:
            yield _text(" ".join(paragraph.split()))


def _text(text: str) -> str:
    """Escape text for roff: backslashes, hyphens that people copy, and a control character in the first column."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{escaped}" if escaped[:1] in {".", "'"} else escaped
