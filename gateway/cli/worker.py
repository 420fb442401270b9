"""`lineside worker`: one worker of a gateway; its supervisor starts it."""

from __future__ import annotations

import asyncio
import socket
import sys

import click

from gateway.common.event_loop import new_event_loop
from gateway.common.logging import configure_logging
from gateway.common.own_files import keep_files_private
from gateway.workers.worker import end_with, work


@click.command(hidden=True)
@click.option("--number", type=int, required=True, help="The number of this worker, from 1.")
@click.option("--channel", type=int, required=True, help="The file descriptor of the channel to the supervisor.")
@click.option("--supervisor", type=int, required=True, help="The process id of the supervisor.")
@click.option("--trace", is_flag=True, help="Log each message between gateway and devices.")
@click.pass_context
def worker(ctx: click.Context, number: int, channel: int, supervisor: int, *, trace: bool) -> None:
    """Read a part of the machines of a gateway."""
    keep_files_private()
    end_with(supervisor)
    said = ctx.find_root().params
    configure_logging(said["log"], said["log_level"], worker=number)
    with socket.socket(fileno=channel) as end, asyncio.Runner(loop_factory=new_event_loop) as runner:
        started = runner.run(work(end, trace=trace))
    sys.exit(0 if started else 1)
