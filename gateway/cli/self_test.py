"""`lineside self-test`: the checks that a gateway makes after its start."""

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
@FORMAT
def self_test(config: Path, style: str, *, recorded: bool) -> None:
    """Check this box for the services of CONFIG: rights, certificates, keys, disks, clock, audit log and spool.

    Nothing is changed, and the services may run. A gateway does the same after each start. Exits with 1 if there is
    something to act on.
    """
    from gateway.self_test.checks import run_checks  # noqa: PLC0415 - see gateway.cli

    factory = load(config)
    report = run_checks(factory)
    if recorded:
        _record(factory, report)
    if style == "json":
        print_json(report.model_dump(mode="json"))
    else:
        for one in report.outcomes:
            echo(f"{one.check:<{WIDTH}}{one.result.value.replace('_', ' ')}")
            for problem in one.problems:
                echo(f"  {printable(problem)}")
            for note in one.notes:
                echo(f"  note: {printable(note)}")
    sys.exit(1 if report.problems else 0)


def _record(factory: Factory, report: Report) -> None:
    from gateway.cli.audited import Said, record  # noqa: PLC0415 - see gateway.cli
    from gateway.self_test.outcome import save_report, self_test_file  # noqa: PLC0415 - see gateway.cli

    own = factory.gateway
    results = {one.check: one.result.value for one in report.outcomes}
    record(factory.dashboard.audit, Said("self-test", own.id, after=results | {"problems": report.problems[:10]}))
    try:
        save_report(self_test_file(own.spool.folder, own.id), report)
    except OSError as error:
        echo(f"lineside: the result can't be written: {error.strerror}", err=True)
