"""What commands print: nothing in it steers the terminal that shows it.

Names, readings and device texts come from others. `echo` is the only way to print; a test keeps it so.
"""

from __future__ import annotations

import sys
from typing import IO, Any

import click

from gateway.common.text import printable_json, printable_lines


def echo(text: object = "", *, err: bool = False, nl: bool = True, styled: bool = False) -> None:
    """Print a text for people, with escapes in place of characters that would steer a terminal.

    A `styled` text has colours; each part of it has passed `printable` before.
    """
    click.echo(text if styled else printable_lines(str(text)), err=err, nl=nl)


def echo_json(document: str | bytes) -> None:
    """Print a JSON document, or a line of JSON; it means the same to a program."""
    click.echo(printable_json(document.decode() if isinstance(document, bytes) else document))


def echo_data(text: str | bytes, *, file: IO[Any] | None = None, nl: bool = True) -> None:
    """Print CSV or YAML: a file or a program gets it as it is, a terminal with escapes, as `echo` does."""
    if file is None and sys.stdout.isatty():
        text = printable_lines(text.decode() if isinstance(text, bytes) else text)
    click.echo(text, file=file, nl=nl, color=True)  # or click removes what looks like colours
