"""`lineside self-test`: the checks that services make after their start, and each day."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from gateway.cli.common import CONFIG, FORMAT, load, print_json
from gateway.cli.output import echo
from gateway.common.text import printable

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.self_test.outcome import Report
    from gateway.settings.factory import Factory

WIDTH = 14
"""Columns of the names of checks."""


@click.command("self-test")
@CONFIG
@click.option("--record", "recorded", is_flag=True, help="Note the result for lineside status, and in the audit log.")
@click.option("--service", type=click.Choice(["gateway", "ingest", "dashboard"]), default="gateway", hidden=True)
@click.option("--id", "name", hidden=True)
@FORMAT
def self_test(config: Path, style: str, service: str, name: str | None, *, recorded: bool) -> None:
    """Check this box for the services of CONFIG.

    The checks are those of rights, certificates, keys, disk, clock, audit log, spool and the installed software.
    Nothing is changed, and the services may run. A gateway does the same after each start and each day; ingest and
    the page check the software. Exits with 1 if there is something to act on.
    """
    from gateway.self_test.checks import CHECKS, OF_ALL_SERVICES, run_checks  # noqa: PLC0415 - see gateway.cli

    factory = load(config)
    checks = CHECKS if service == "gateway" else {name: CHECKS[name] for name in OF_ALL_SERVICES}
    report = run_checks(factory, checks)
    if recorded:
        _record(factory, report, service, name)
    if style == "json":
        print_json(report.model_dump(mode="json"))
    else:
        for one in report.outcomes:
            echo(f"{one.check:<{WIDTH}}{one.result.value.replace('_', ' ')}")
            for problem in one.problems:
                echo(f"  {printable(problem)}")
            for warning in one.warnings:
                echo(f"  warning: {printable(warning)}")
            for note in one.notes:
                echo(f"  note: {printable(note)}")
    sys.exit(1 if report.problems else 0)


def _record(factory: Factory, report: Report, service: str, name: str | None) -> None:
    from gateway.cli.audited import Said, record  # noqa: PLC0415 - see gateway.cli
    from gateway.self_test.outcome import save_report, self_test_file  # noqa: PLC0415 - see gateway.cli

    who = {"gateway": factory.gateway.id, "ingest": name or factory.ingest.id}.get(service, service)
    results = {one.check: one.result.value for one in report.outcomes}
    # a page or ingest on the box of a gateway repeats what that has recorded, and alone it makes no audit log
    if service == "gateway" or (report.problems and factory.dashboard.audit.folder.exists()):
        record(factory.dashboard.audit, Said("self-test", who, after=results | {"problems": report.problems[:10]}))
    if service == "dashboard":
        return  # the page has no folder of its own
    folder = factory.gateway.spool.folder if service == "gateway" else factory.ingest.folder
    try:
        save_report(self_test_file(folder, who), report)
    except OSError as error:
        echo(f"lineside: the result can't be written: {error.strerror}", err=True)
