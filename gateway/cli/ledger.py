"""`lineside ledger`: prints the account of all readings of a gateway."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from gateway.cli.common import CONFIG, FORMAT, load
from gateway.cli.output import echo, echo_json

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.model.ledger import Ledger


@click.command()
@CONFIG
@FORMAT
def ledger(config: Path, style: str) -> None:
    """Print the account of all readings that the gateway of CONFIG acquired, over all its runs.

    The gateway may be running, stopped or killed. Exits with 1 if there is no ledger, or if it does not balance.
    """
    from gateway.spool.inspect import NotReadable, inspect  # noqa: PLC0415 - see gateway.cli
    from gateway.spool.siblings import ledger_of_all, spools_of  # noqa: PLC0415 - see gateway.cli

    own = load(config).gateway
    try:
        states = [inspect(files) for files in spools_of(own.spool.folder, own.id)]
    except NotReadable as error:
        echo(f"lineside: {error}", err=True)
        sys.exit(1)
    found = ledger_of_all(states)
    if style == "json":
        echo_json(as_json(own.id, states[0].state.spool, found))
    else:
        echo(as_text(found))
    sys.exit(0 if found.balanced else 1)


def as_text(found: Ledger) -> str:
    """Return a ledger as a column of numbers that add up to the first."""
    dropped = [(f"dropped: {reason}", n) for reason, n in sorted(found.dropped.items())] or [("dropped", 0)]
    lines = [
        ("acquired", found.acquired), ("unchanged", found.unchanged), *dropped,
        ("pending", found.pending), ("confirmed", found.confirmed),
    ]  # fmt: skip
    width = max(len(name) for name, _ in lines) + 2
    text = "\n".join(f"{name:<{width}}{n:>18,}" for name, n in lines)
    missing = f"{found.missing:,} readings are not accounted for"
    result = "every reading is accounted for" if found.balanced else missing
    return f"{text}\n{result}"


def as_json(gateway: str, spool: str, found: Ledger) -> str:
    """Return a ledger for other programs; docs/delivery.md explains the keys."""
    import orjson  # noqa: PLC0415 - see gateway.cli

    report = {"gateway": gateway, "spool": spool} | found.as_dict() | {"balanced": found.balanced}
    return orjson.dumps(report, option=orjson.OPT_INDENT_2).decode()
