"""`lineside dashboard`: the page."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from drivers.extras import require
from gateway.cli.common import SET, WITH_STDIN, load, log_findings, serve
from gateway.cli.output import echo
from gateway.common.own_files import keep_files_private
from gateway.settings.dashboard_section import check_exposure
from gateway.settings.exposure import PAGE
from gateway.settings.locked_keys import key_problems
from gateway.settings.sections import parse_endpoint
from gateway.settings.signature_memory import Service

if TYPE_CHECKING:
    from gateway.common.stop_event import StopEvent


@click.command()
@click.argument(
    "configs", metavar="CONFIG...", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path)
)
@SET
@click.option("--listen", metavar="HOST:PORT", help="In place of dashboard.listen of the first CONFIG.")
@click.option("--broker", "everything", is_flag=True, help="Show all that the brokers of the CONFIGs know.")
@click.option("--link", is_flag=True, help="Show the link that signs in to a page without users that runs.")
@WITH_STDIN
def dashboard(
    configs: tuple[Path, ...], listen: str | None, *, everything: bool, link: bool, with_stdin: bool
) -> None:
    """Serve a web page with the plants of one or several CONFIGs, until it is stopped.

    It listens to the brokers and reads the stores. Its settings are those of `dashboard` in the first CONFIG. Without
    users, a link signs in: the terminal shows it, and `--link` shows it again to the account of the page. SIGHUP lets
    the page read its certificate again.
    """
    keep_files_private()
    require("dashboard")
    if link:
        _show_links(load(configs[0]).gateway.spool.folder)
        return
    factories = [load(config, service=Service.DASHBOARD) for config in configs]
    section = factories[0].dashboard
    if listen is not None:
        try:
            parse_endpoint(listen)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--listen") from error
        section = section.model_copy(update={"listen": listen})
    problems = [f"{configs[0]}: {problem}" for problem in check_exposure(section)]
    problems += [str(one) for one in key_problems(factories[0], here=True) if one.path.startswith("dashboard.")]
    if problems:
        for problem in problems:
            echo(problem, err=True)
        sys.exit(1)
    from gateway.dashboard.service import DashboardService  # noqa: PLC0415 - an extra

    async def main(stop: StopEvent) -> None:
        for factory in factories:
            log_findings(factory, PAGE)
        try:
            show = _show_link if sys.stdout.isatty() else None  # a log must not get it
            service = DashboardService(factories, section, everything=everything, show_link=show)
        except ValueError as error:
            raise click.ClickException(str(error)) from None
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, service.asked_to_reload)
        await service.run(stop)

    serve(main, with_stdin=with_stdin)


def _show_link(link: str) -> None:
    echo(f"page at {link}")


def _show_links(folder: Path) -> None:
    """Show the links of the pages without users that run with a folder; exit with 1 if there are none."""
    from gateway.dashboard.security.link import links_in  # noqa: PLC0415 - an extra

    try:
        found = links_in(folder)
    except OSError as error:
        hint = "run it as the account of the page"
        raise click.ClickException(f"{error.filename or folder}: {error.strerror}; {hint}") from None
    if not found:
        echo(f"no page without users runs with {folder}; start it with lineside dashboard CONFIG", err=True)
        sys.exit(1)
    for one in found:
        echo(one)
