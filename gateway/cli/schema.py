"""`lineside schema`: the configuration as JSON Schema, for editors."""

from __future__ import annotations

import click
import orjson

import drivers
from gateway.settings.schema import schemas


@click.command()
@click.argument("kind", type=click.Choice(["factory", "lines", "template"]), default="factory")
def schema(kind: str) -> None:
    """Print the JSON Schema of a file: a factory, lines that it includes, or a template.

    It knows the protocols of this installation. The comment '# yaml-language-server: $schema=FILE' in a file shows
    an editor where it is.
    """
    found = schemas(kind.name for kind in drivers.usable())[kind]
    click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode())
