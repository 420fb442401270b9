"""`lineside schema`: the configuration as JSON Schema, for editors."""

from __future__ import annotations

import click

import drivers
from gateway.cli.common import print_json
from gateway.settings.schema import schemas


@click.command()
@click.argument("kind", type=click.Choice(["factory", "lines", "template"]), default="factory")
def schema(kind: str) -> None:
    """Print the JSON Schema of a file: a factory, lines that it includes, or a template.

    It knows the protocols of this installation. The comment '# yaml-language-server: $schema=FILE' in a file shows
    an editor where it is.
    """
    print_json(schemas(kind.name for kind in drivers.usable())[kind])
