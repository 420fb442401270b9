"""`lineside tail`: readings as the broker delivers them."""

from __future__ import annotations

import asyncio
import select
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from gateway.cli.arguments import ARGUMENTS, CONFIG_OPTION, split_config
from gateway.cli.common import load, serve
from gateway.cli.group import drop_output
from gateway.cli.output import echo, echo_data
from gateway.cli.rows import STYLES, reading_line, reading_lines

if TYPE_CHECKING:
    from gateway.model.reading import Reading

CLOSED_EVERY = 0.2
"""Seconds between two looks whether the reader of the output is there."""


@click.command()
@ARGUMENTS
@CONFIG_OPTION
@click.option("--format", "style", type=click.Choice(STYLES), default="text", show_default=True,
              help="How to print.")  # fmt: skip
@click.option("--count", "-n", type=click.IntRange(0), default=0, help="Stop after so many readings.")
@click.option("--local", is_flag=True, help="Times in local time, not in UTC.")
@click.pass_context
def tail(
    ctx: click.Context, arguments: tuple[str, ...], config: str | None, style: str, count: int, local: bool  # noqa: FBT001 - a flag
) -> None:  # fmt: skip
    """Print readings whose point matches a PATTERN as they pass the broker, until it is stopped.

    CONFIG is the factory's YAML. A PATTERN matches the end of enterprise/site/area/line/machine/point, such as
    'press-01/*' or 'bladder_*'; without one, all points match.
    """
    file, patterns = split_config(ctx, arguments, config)
    factory = load(file)

    def show(reading: Reading) -> None:
        echo_data(reading_line(reading, style, local=local))

    async def main(stop: asyncio.Event) -> None:
        from gateway.ingest.tail import follow  # noqa: PLC0415 - see gateway.cli

        watching = asyncio.create_task(_watch_output(stop), name="output")
        try:
            await follow(factory, patterns, stop, show, count, lambda text: echo(f"lineside: {text}", err=True))
        except BrokenPipeError:
            drop_output()
        finally:
            watching.cancel()

    for line in reading_lines((), style):
        echo_data(line)
    serve(main)


async def _watch_output(stop: asyncio.Event) -> None:
    """Stop when standard output is a pipe that nobody reads any more, also while no reading comes."""
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), 0)  # errors are always reported
    except (OSError, ValueError):  # not a file
        return
    while not stop.is_set():
        if any(event & (select.POLLERR | select.POLLNVAL) for _, event in poll.poll(0)):
            stop.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), CLOSED_EVERY)
