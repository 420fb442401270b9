"""`lineside import`: a factory and its templates from a table of points, or from the files of other programs."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from pydantic import ValidationError

import drivers
from gateway.cli.common import OUTPUT_FOLDER, load, size_of
from gateway.cli.output import echo
from gateway.cli.problem_text import print_problems
from gateway.cli.progress import Progress
from gateway.common.setting_types import check_name
from gateway.common.text import counted, printable
from gateway.importers.build import built, files_of
from gateway.importers.environment import unset, with_assumed
from gateway.importers.formats import FORMATS, read
from gateway.importers.found import Options
from gateway.importers.merge import Choice, merge
from gateway.importers.merge import write as write_merged
from gateway.settings.problems import ConfigurationError, unknown
from gateway.settings.validation import describe

if TYPE_CHECKING:
    from gateway.importers.found import Import

NAMES = [one.name for one in FORMATS]

HEAD = ("enterprise", "site", "gateway", "broker")
"""Options of a new factory."""

LONGEST = 500
"""Characters of a name, and of a message, in a note."""

SAME_NOTES = 50
"""Notes that are printed with the same reason."""


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=OUTPUT_FOLDER, help="Folder of a new factory's files.")
@click.option("--into", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="The factory's YAML, to which the machines are added.")  # fmt: skip
@click.option("--replace", is_flag=True, help="With --into: replace machines that are there and differ.")
@click.option("--keep", is_flag=True, help="With --into: keep machines that are there and differ.")
@click.option("--from", "name", type=click.Choice(NAMES), metavar="FORMAT",
              help=f"The format; without it the content decides. One of {', '.join(NAMES)}.")  # fmt: skip
@click.option("--encoding", default="", help="The encoding of a text file, as in cp1252.  [default: by its bytes]")
@click.option("--connection", default="", help="The address of the machine, if the file has none.")
@click.option("--machine", default="", help="The machine's name, if the file has none.")
@click.option("--area", default="area", show_default=True, help="The area, if the file has none.")
@click.option("--line", default="line", show_default=True, help="The line, if the file has none.")
@click.option("--order", type=click.Choice(["ABCD", "CDAB", "BADC", "DCBA"]),
              help="Order of 32 bits, if the file has none.  [default: CDAB of Kepware and Ignition, else ABCD]",
)  # fmt: skip
@click.option("--type", "kind", type=click.Choice(["bool", "int", "float", "string"]), default="float",
              show_default=True, help="Type of values, if the file has none.")  # fmt: skip
@click.option("--column", "columns", multiple=True, metavar="FIELD=COLUMN",
              help="Of a list of registers: a column by its name or number, as in address=Register.")  # fmt: skip
@click.option("--base", type=click.Choice(["0", "1"]),
              help="Of a list of registers: the number of the first.  [default: as the addresses look]")  # fmt: skip
@click.option("--table", type=click.Choice(["holding", "input", "coil", "discrete"]), default="holding",
              show_default=True, help="Of a list of registers: the table, if the list has none.")  # fmt: skip
@click.option("--sheet", default="", help="The sheet of a workbook.  [default: all with addresses]")
@click.option("--rate", "rates", multiple=True, metavar="GROUP=PERIOD",
              help="Of Ignition: the period of a tag group, as in Fast=250ms.")  # fmt: skip
@click.option("--address", type=click.IntRange(0, 65_535), help="Of a model of SunSpec: its first register.")
@click.option("--repeat", multiple=True, metavar="GROUP=N", help="Of a model of SunSpec: how often a group repeats.")
@click.option("--nodes", type=click.Choice(["auto", "id", "path"]), default="auto", show_default=True,
              help="Of a nodeset: the addresses of nodes.")  # fmt: skip
@click.option("--env-file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Of Telegraf and Home Assistant: a file with the values of variables and secrets.")  # fmt: skip
@click.option(
    "--enterprise", default="enterprise", show_default=True, help="The company, the first level of all topics."
)
@click.option("--site", default="site", show_default=True, help="The site, the second level.")
@click.option("--gateway", default="edge-01", show_default=True, help="The gateway's id.")
@click.option("--broker", default="mqtt://localhost:1883", show_default=True, help="The broker's URL.")
@click.option("--force", is_flag=True, help="With --out: write over files that are there.")
@click.pass_context
def import_(
    context: click.Context, /, file: Path, out: Path | None, into: Path | None, name: str | None, encoding: str,
    enterprise: str, site: str, gateway: str, broker: str, *, replace: bool, keep: bool, force: bool,
    **options: Any,  # noqa: ANN401 - the fields of Options
) -> None:  # fmt: skip
    """Make a factory and templates of FILE, or add its machines to a factory.

    Tables (CSV, xlsx) of points or registers, and files of Kepware, Ignition, EMQX Neuron, TIA Portal, Telegraf,
    ThingsBoard, Node-RED, Home Assistant, EdgeX, OPC UA (nodesets) and SunSpec are recognised by their content. Notes
    list the parts that can't be translated.
    """
    _check_options(context, out=out, into=into, replace=replace, keep=keep, force=force)
    given = {key: value for key, value in options.items() if value is not None}
    _check_values(given)
    try:
        with Progress(f"reading {file}"):
            found = read(file, Options(**given), name, encoding)
    except (ValueError, OSError) as error:
        raise click.ClickException(f"{file}: {_reason(error)}") from None
    if into is not None:
        _merge(file, into, found, Choice(replace, keep))
        return
    head = {
        "factory": {"enterprise": enterprise, "site": site},
        "gateway": {"id": gateway},
        "broker": {"url": broker},
    }
    try:
        files = files_of(found, head)
    except ValueError as error:
        _print_notes(file, found)
        raise click.ClickException(f"{file}: {_reason(error)}") from None
    folder = out or Path()
    write(folder, files, force=force)
    _print_notes(file, found)
    if missing := unset([machine.connection for machine in found.machines]):
        echo(f"{folder / 'factory.yaml'}: set {', '.join(missing)}, then lineside validate{_count(found)}")
        return
    factory = load(folder / "factory.yaml")
    echo(f"{folder / 'factory.yaml'}: {size_of(factory)}{_count(found)}")


def _check_options(
    context: click.Context, *, out: Path | None, into: Path | None, replace: bool, keep: bool, force: bool
) -> None:
    """Raise `UsageError` for options that do not go together."""
    if (out is None) == (into is None):
        raise click.UsageError("write --out FOLDER for a new factory, or --into FACTORY to add to one that is there")
    if into is None and (replace or keep):
        raise click.UsageError("--replace and --keep are for --into; with --out, --force writes over files")
    if replace and keep:
        raise click.UsageError("write --replace or --keep, not both")
    if into is not None:
        given = [one for one in HEAD if context.get_parameter_source(one) is ParameterSource.COMMANDLINE]
        if given or force:
            raise click.UsageError(f"--{given[0] if given else 'force'} is for a new factory, with --out")


def _check_values(options: dict[str, Any]) -> None:
    """Raise `UsageError` for names and a connection that no machine can have."""
    schemes = {scheme: kind for kind in drivers.usable() for scheme in kind.connection.schemes}
    written = options["connection"]
    scheme = written.partition(":")[0]
    if written and scheme not in schemes:
        raise click.UsageError(f"--connection: {unknown('scheme', scheme, schemes)}")
    try:
        for name in ("area", "line"):
            check_name(options[name])
        if written:
            drivers.parse_connection(schemes[scheme], with_assumed(written))
    except ValidationError as error:
        problems = "; ".join(describe(one) for one in error.errors(include_url=False))
        raise click.UsageError(f"--connection {written}: {problems}") from None
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _merge(file: Path, into: Path, found: Import, choice: Choice) -> None:
    """Add the machines of a file to a factory; exits with 1 where they are in conflict, and nothing is written."""
    try:
        merged = merge(into, built(found), choice)
    except ConfigurationError as error:
        print_problems(error.problems)
        raise click.ClickException(f"{into} is not valid, or would not be; nothing is written") from None
    except (ValueError, OSError) as error:
        _print_notes(file, found)
        raise click.ClickException(f"{file}: {_reason(error)}") from None
    _print_notes(file, found)
    for note in merged.notes:
        echo(printable(f"{into}: {note}"), err=True)
    for conflict in merged.conflicts:
        echo(printable(f"{into}: conflict: {conflict}"), err=True)
    if merged.conflicts:
        raise click.ClickException(
            f"{counted(len(merged.conflicts), 'conflict')}; nothing is written. --replace writes the new over the "
            "old, --keep leaves the old"
        )
    try:
        write_merged(merged)
    except OSError as error:
        raise click.ClickException(_reason(error)) from None
    done = [
        f"{counted(len(machines), 'machine')} {what}"
        for what, machines in (("added", merged.added), ("replaced", merged.replaced), ("kept", merged.kept),
                               ("unchanged", merged.unchanged))
        if machines
    ]  # fmt: skip
    echo(f"{into}: {', '.join(done)}; now {size_of(load(into))}{_count(found)}")


def write(folder: Path, files: dict[str, str], *, force: bool) -> None:
    """Write files into a folder; exits with 1 where one is there, and nothing is written."""
    there = [name for name in files if (folder / name).exists()]
    if there and not force:
        raise click.ClickException(f"{folder / there[0]} is there already; --force writes over it")
    try:
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(_reason(error)) from None


def _reason(error: Exception) -> str:
    """Return the reason of a failure in a line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return printable(str(error))


def _count(found: Import) -> str:
    return f", {counted(len(found.notes), 'note')} above" if found.notes else ""


def _print_notes(file: Path, found: Import) -> None:
    """Print notes in the order of the file, and of those with the same reason the first."""
    shown: Counter[str] = Counter()
    for note in sorted(found.notes, key=lambda note: note.where if isinstance(note.where, int) else 0):
        reason = note.message.partition(": ")[2] or note.message
        shown[reason] += 1
        if shown[reason] <= SAME_NOTES:
            what, message = note.what[:LONGEST], note.message[:LONGEST]
            echo(printable(f"{file}:{note.where}: {what}: {message}"), err=True)
    for reason, count in shown.items():
        if count > SAME_NOTES:
            echo(printable(f"{file}: {count - SAME_NOTES:,} more: {reason[:LONGEST]}"), err=True)
    sys.stderr.flush()
