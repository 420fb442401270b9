"""`lineside import`: a factory and its templates from a table of points, or from the files of other programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.common import load, size_of
from gateway.common.text import counted
from gateway.importers.build import files_of
from gateway.importers.formats import FORMATS, read
from gateway.importers.found import Options

if TYPE_CHECKING:
    from gateway.importers.found import Import

OUT = click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the factory's files."
)


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@OUT
@click.option("--from", "name", type=click.Choice([one.name for one in FORMATS]),
              help="The format; without it the content decides.")  # fmt: skip
@click.option("--encoding", default="", help="The encoding of a text file, as in cp1252.  [default: by its bytes]")
@click.option("--connection", default="", help="Where the machine is, where the file does not say it.")
@click.option("--machine", default="", help="The machine's name, where the file does not say it.")
@click.option("--area", default="area", show_default=True, help="The area, where the file does not say it.")
@click.option("--line", default="line", show_default=True, help="The line, where the file does not say it.")
@click.option("--order", default="CDAB", show_default=True, help="Order of 32 bits, where the file does not say it.")
@click.option("--type", "kind", type=click.Choice(["bool", "int", "float", "string"]), default="float",
              show_default=True, help="Type of values, where the file does not say it.")  # fmt: skip
@click.option("--enterprise", default="enterprise", show_default=True)
@click.option("--site", default="site", show_default=True)
@click.option("--gateway", default="edge-01", show_default=True, help="The gateway's id.")
@click.option("--broker", default="mqtt://localhost:1883", show_default=True, help="The broker's URL.")
@click.option("--force", is_flag=True, help="Write over files that are there.")
def import_(
    file: Path, out: Path, name: str | None, encoding: str, enterprise: str, site: str, gateway: str, broker: str, *,
    force: bool, **options: Any,  # noqa: ANN401 - the fields of Options
) -> None:  # fmt: skip
    """Make a factory and templates of FILE.

    It is a table of points, a tag list of Kepware, tags of Ignition (both CSV), or a configuration of Telegraf. Notes
    list the lines that can't be translated.
    """
    head = {
        "factory": {"enterprise": enterprise, "site": site},
        "gateway": {"id": gateway},
        "broker": {"url": broker},
    }
    try:
        found = read(file, Options(**options), name, encoding)
        files = files_of(found, head)
    except (ValueError, OSError) as error:
        raise click.ClickException(f"{file}: {error}") from None
    write(out, files, force=force)
    _print_notes(file, found)
    factory = load(out / "factory.yaml")
    notes = f", {counted(len(found.notes), 'note')} above" if found.notes else ""
    click.echo(f"{out / 'factory.yaml'}: {size_of(factory)}{notes}")


def write(folder: Path, files: dict[str, str], *, force: bool) -> None:
    """Write files into a folder; exits with 1 where one is there, and nothing is written."""
    there = [name for name in files if (folder / name).exists()]
    if there and not force:
        raise click.ClickException(f"{folder / there[0]} is there already; --force writes over it")
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def _print_notes(file: Path, found: Import) -> None:
    for note in sorted(found.notes, key=lambda note: note.where if isinstance(note.where, int) else 0):
        click.echo(f"{file}:{note.where}: {note.what}: {note.message}", err=True)
    sys.stderr.flush()
