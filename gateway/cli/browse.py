"""`lineside browse`: the address space of an OPC UA server, and a template of it."""

from __future__ import annotations

import asyncio
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple, cast

import click

import drivers
from drivers.base import DriverError, NotConnected
from drivers.opcua.browse.browser import Browser
from drivers.opcua.browse.start_node import start_at
from drivers.opcua.browse.variable_details import learn
from drivers.opcua.connection.discovery import endpoints, servers
from drivers.opcua.connection.paced_session import PacedSession
from drivers.opcua.connection.session import opened
from drivers.opcua.errors import REQUEST_ERRORS, not_connected
from drivers.opcua.node_address import parse_node
from drivers.opcua.security.settings import LEGACY
from gateway.cli.browse_result import BrowseResult
from gateway.cli.browse_template import template_of
from gateway.cli.browse_tree import as_dicts, tree
from gateway.cli.common import FORMAT, OUTPUT_FILE, Unreachable, print_json
from gateway.cli.output import echo
from gateway.cli.progress import Progress
from gateway.common.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from drivers.opcua.browse.nodes import BrowsedNode
    from drivers.opcua.settings import OpcUaConnection
    from gateway.cli.browse_template import Template

MOST = 100_000
"""Nodes that can be looked at in one go."""


class BrowseRequest(NamedTuple):
    """The part of a server to browse, and the rate of requests a second."""

    under: str | None
    depth: int
    match: tuple[str, ...]
    most: int
    per_second: float


@click.command()
@click.argument("url")
@click.option("--endpoints", is_flag=True, help="Show the ways in and their security instead; needs no trust.")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE",
              help="An option of the connection, as in a factory; of a password the secret's name.")  # fmt: skip
@click.option("--under", metavar="NODE", help="Start here: 's=Drum', 'nsu=URI;i=5', or a path, '/Press/Drum'.")
@click.option("--depth", type=click.IntRange(1, 100), default=10, show_default=True, help="Levels below the start.")
@click.option("--match", multiple=True, metavar="GLOB", help="Only variables with such a name or path: '*Temp*'.")
@click.option("--max", "most", type=click.IntRange(1, MOST), default=10_000, show_default=True, help="Nodes.")
@click.option("--per-second", type=click.FloatRange(0.1, 1000), default=20.0, show_default=True, help="Requests.")
@click.option("--template", type=OUTPUT_FILE, help="Write a template of the shown nodes to this file.")
@click.option("--nodes", type=click.Choice(["auto", "id", "path"]), default="auto", show_default=True,
              help="How the template names nodes: auto is ids that are text, else paths.")  # fmt: skip
@FORMAT
def browse(
    url: str,
    *,
    endpoints: bool,
    options: tuple[str, ...],
    under: str | None,
    depth: int,
    match: tuple[str, ...],
    most: int,
    per_second: float,
    template: Path | None,
    nodes: str,
    style: str,
) -> None:
    """Look at the OPC UA server at URL, such as opc.tcp://10.20.2.21:4840. It only reads."""
    try:
        connection = _connection(url, options)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    try:
        if endpoints:
            asyncio.run(_show_endpoints(connection, style))
            return
        looked = asyncio.run(_look(connection, BrowseRequest(under, depth, match, most, per_second)))
    except NotConnected as error:
        raise Unreachable(str(error)) from None
    except (ValueError, LookupError, DriverError) as error:
        raise click.ClickException(str(error.args[0] if isinstance(error, LookupError) else error)) from None
    if style == "json":
        print_json(as_dicts(looked, connection.namespace))
    else:
        for line in tree(looked, connection.namespace):
            echo(line)
    if looked.cut:
        echo(f"there are more than {most} nodes: choose with --under, or raise --max", err=True)
    if not looked.chosen:
        echo("no variable there" if looked.every else f"no variable matches {' or '.join(match)}", err=True)
    if template is not None:
        by_path = {"auto": None, "id": False, "path": True}[nodes]
        _write(template, template_of(looked, connection.namespace, template.stem, by_path=by_path))


def _write(file: Path, template: Template) -> None:
    if not template.points:
        raise click.ClickException(f"nothing of this can be a point, so {file} is not written")
    try:
        file.write_text(template.text, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(str(error)) from None
    echo(f"{file}: {template.points} points{template.hint}", err=True)


def _connection(url: str, written: Sequence[str]) -> OpcUaConnection:
    """Return the connection with its options. Raises `ValueError`, and `MissingSecret` before a device is asked."""
    options: dict[str, object] = {}
    for one in written:
        key, equals, value = one.partition("=")
        if not equals or not key:
            raise ValueError(f"--option {key}: write KEY=VALUE, as in --option security=none")
        options[key] = {"secret": value} if key == "password" else value
    protocol = drivers.protocol("opcua")
    connection = cast("OpcUaConnection", drivers.parse_connection(protocol, options | {"url": url}))
    if connection.password is not None:
        connection.password.reveal()
    return connection


async def _look(connection: OpcUaConnection, wanted: BrowseRequest) -> BrowseResult:
    """Walk the tree, and learn what the variables in it are. Raises `DriverError`, `LookupError` or `ValueError`."""
    node = parse_node(wanted.under) if wanted.under is not None else None
    with Progress(f"connecting to {connection.url}") as progress:
        session = PacedSession(await opened(connection, connection.url), connection, wanted.per_second)
        try:
            start = await start_at(session, node, connection)  # type: ignore[arg-type] # parsed text is one
            browser = Browser(session, wanted.depth, wanted.most, lambda count: progress.show(f"{count:,} nodes"))
            await browser.walk(start)
            chosen = [one for one in start.all() if one.variable and _matches(one, wanted.match)]
            progress.show(f"reading {len(chosen):,} variables")
            types = await learn(session, chosen)
            return BrowseResult(session.url, start, chosen, types, session.uris, browser.cut, not wanted.match)
        except REQUEST_ERRORS as error:
            raise not_connected(error, session.url, connection) from error
        finally:
            await session.close()


def _matches(node: BrowsedNode, globs: Sequence[str]) -> bool:
    """Return whether a node has such a name or path; capitals do not matter."""
    names = [name.lower() for name in (node.name.Name or "", node.path, node.display)]
    return not globs or any(fnmatchcase(name, glob.lower()) for name in names for glob in globs)


async def _show_endpoints(connection: OpcUaConnection, style: str) -> None:
    with Progress(f"asking {connection.url}"):
        found, known = await endpoints(connection), await servers(connection)
    if style == "json":
        ways = [one._asdict() | {"legacy": one.policy in LEGACY} for one in found]
        print_json({"endpoints": ways, "servers": [one._asdict() for one in known]})
        return
    for url, certificate in dict.fromkeys((one.url, one.certificate) for one in found):
        echo(f"{printable(url)}\n  certificate: {printable(certificate) or 'none'}")
        for one in found:
            if (one.url, one.certificate) == (url, certificate):
                mode = "" if one.policy == "none" else f"security_mode={one.mode}"
                note = "" if one.spoken else "  not spoken here"
                if one.policy in LEGACY:
                    note = "  only with allow_insecure_legacy=true"
                users = printable(", ".join(one.users)) or "none"
                echo(f"  security={one.policy:<22} {mode:<30} users: {users}{note}")
    for server in known:
        urls = ", ".join(server.urls) or "without an address"
        echo(printable(f"server {server.name} ({server.uri}): {urls}"))
