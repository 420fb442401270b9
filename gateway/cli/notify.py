"""`lineside notify`: try out who is notified of alarms."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import click

from drivers.extras import require
from gateway.cli.common import CONFIG, FORMAT, load, print_json
from gateway.cli.output import echo

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.notify.delivery import Answer
    from gateway.settings.factory import Factory


@click.command()
@CONFIG
@click.option("--test", "is_test", is_flag=True, help="Send each target one message that is marked as a test.")
@click.option("--target", "chosen", multiple=True, metavar="NAME", help="Only this target; may be given again.")
@FORMAT
def notify(config: Path, chosen: tuple[str, ...], style: str, *, is_test: bool) -> None:
    """Show the targets of notification in CONFIG with their rules; with --test send each a message.

    Exits with 1 if a message was not delivered.
    """
    from gateway.settings.problems import unknown  # noqa: PLC0415 - see gateway.cli

    factory = load(config)
    targets = factory.gateway.notify.targets
    for name in chosen:
        if name not in targets:
            raise click.BadParameter(unknown("target", name, targets), param_hint="--target")
    names = list(dict.fromkeys(chosen or targets))
    if not is_test:
        _show(factory, names, style)
        return
    require("notify")
    if not names:
        echo(f"{config}: gateway.notify has no targets", err=True)
        sys.exit(1)
    answers = asyncio.run(_send(factory, names))
    if style == "json":
        found = {
            name: {"outcome": one.outcome.value, "status": one.status or None, "text": one.text, "hint": one.hint}
            for name, one in answers.items()
        }
        print_json({"targets": found})
    else:
        for name, one in answers.items():
            echo(f"{name}: {one.text}" + (f"; {one.hint}" if one.hint else ""))
    sys.exit(0 if all(one.delivered for one in answers.values()) else 1)


async def _send(factory: Factory, names: list[str]) -> dict[str, Answer]:
    from gateway.notify.courier import Courier  # noqa: PLC0415 - see gateway.cli
    from gateway.notify.message import test_message  # noqa: PLC0415 - see gateway.cli

    own, courier = factory.gateway, Courier()
    sending = (courier.send(own.notify.targets[name], test_message(own.id, name)) for name in names)
    return dict(zip(names, await asyncio.gather(*sending), strict=True))


def _show(factory: Factory, names: list[str], style: str) -> None:
    rules = factory.gateway.notify.rules
    found: dict[str, list[dict[str, Any]]] = {
        name: [
            {
                "priorities": [one.shown for one in rule.priorities], "machines": list(rule.machines),
                "classes": list(rule.classes), "after": rule.after,
            }
            for rule in rules
            if name in rule.targets
        ]
        for name in names
    }  # fmt: skip
    if style == "json":
        print_json({"targets": found})
        return
    for name, its in found.items():
        echo(name)
        for one in its:
            said = f"{', '.join(one['priorities'])}; machines {', '.join(one['machines'])}"
            echo(f"  after {one['after']:g} s: {said}; classes {', '.join(one['classes'])}")
