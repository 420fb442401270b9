"""The live table: machines, their values, and the ledger."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gateway.codecs import Undecodable, decode
from gateway.ingest.placement import placed_scans, source_of
from gateway.mqtt.messages import BadMessage, parse_ledger, parse_machine_state
from gateway.mqtt.session import Session
from gateway.mqtt.topics import Topics

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from gateway.model.path import MachinePath
    from gateway.model.reading import NamedScan
    from gateway.mqtt.client import MqttClient
    from gateway.mqtt.messages import LedgerReport
    from gateway.mqtt.packets import ReceivedMessage
    from gateway.settings.factory import Factory, Machine

REFRESH = 0.5
"""Seconds between two pictures."""

RATE_SECONDS = 5.0
"""The time over which rates are measured."""

SHOWN_VALUES = 4
"""Values shown of each machine."""

_COLOURS = {"online": "green", "degraded": "yellow", "offline": "red", "starting": "dim"}
_GENERAL = {"state", "mode", "order", "recipe", "heartbeat", "alarm_word", "energy"}


@dataclass(slots=True)
class _Row:
    """The state of one machine."""

    machine: Machine
    chosen: list[str]
    state: str = "starting"
    values: dict[str, tuple[Any, str]] = field(default_factory=dict)
    arrivals: deque[tuple[float, int]] = field(default_factory=deque)

    def add(self, scan: NamedScan) -> None:
        """Show the readings of a scan."""
        self.arrivals.append((time.monotonic(), len(scan)))
        self.values |= {name: (value, scan.uncertain.get(name, "")) for name, value in scan.values.items()}
        self.values |= {name: (None, reason) for name, reason in scan.bad.items()}


class Screen:
    """A table that follows the broker, as any other consumer could."""

    def __init__(self, console: Console, folder: Path) -> None:
        self._console = console
        self._folder = folder
        self._rows: dict[MachinePath, _Row] = {}
        self._ledgers: dict[str, LedgerReport] = {}
        self._began = time.monotonic()

    async def watch(self, factories: list[Factory]) -> None:
        """Show until cancelled."""
        for factory in factories:
            for machine in factory.machines:
                own = [point.name for point in machine.points if point.name not in _GENERAL and point.unit]
                self._rows[machine.path] = _Row(machine, own[-SHOWN_VALUES:])
        broker = factories[0].broker
        topics = Topics(broker.root)
        session = Session(broker, "lineside-demo-screen", quiet=True)

        async def serve(link: MqttClient) -> None:
            every = topics.all_machines("+"), topics.all_gateways("ledger"), topics.all_gateways("data")
            await session.subscribe(link, *every, qos=0)
            while True:
                with suppress(BadMessage, Undecodable):  # any client may publish anything
                    self._take(topics, await link.receive())

        with Live(console=self._console, auto_refresh=False, screen=self._console.is_terminal) as live:
            drawing = asyncio.create_task(self._draw(live), name="draw")
            try:
                await session.run(serve)
            finally:
                drawing.cancel()

    def _take(self, topics: Topics, message: ReceivedMessage) -> None:
        gateway, machine = topics.gateway_of(message.topic), topics.machine_of(message.topic)
        if gateway is not None and gateway[1] == "ledger":
            self._ledgers[gateway[0].gateway] = parse_ledger(message.payload)
        elif machine is not None and machine[1] == "state":
            if (row := self._rows.get(machine[0])) is not None:
                row.state = parse_machine_state(message.payload).state
        elif (source := source_of(topics, message.topic)) is not None and (machine is None or machine[1] == "data"):
            for placed in placed_scans(source, decode(message.payload)):
                if (row := self._rows.get(placed.path)) is not None:
                    row.add(placed.scan)

    async def _draw(self, live: Live) -> None:
        while True:
            live.update(self._picture(), refresh=True)
            await asyncio.sleep(REFRESH)

    def _picture(self) -> Group:
        table = Table(expand=True, pad_edge=False, box=None, header_style="bold")
        for title, width in (("machine", 26), ("type", 22), ("state", 10), ("readings/s", 10)):
            table.add_column(title, width=width, no_wrap=True, justify="right" if title == "readings/s" else "left")
        table.add_column("values", no_wrap=True, overflow="ellipsis", ratio=1)  # gives way, before the others do
        shown = max(5, self._console.height - 9)
        for row in list(self._rows.values())[:shown]:
            path = row.machine.path
            state = Text(row.state, style=_COLOURS.get(row.state, ""))
            rate = f"{self._rate(row):.1f}"
            table.add_row(f"{path.line}/{path.machine}", row.machine.template, state, rate, self._values(row))
        rest = len(self._rows) - shown
        more = [Text(f"... and {rest} more machines", style="dim")] if rest > 0 else []
        return Group(*self._head(), table, *more, *self._foot())

    def _head(self) -> list[Text]:
        seconds = time.monotonic() - self._began
        return [
            Text(f"Lineside demo   {seconds:.0f} s   data in {self._folder}   Ctrl-C stops", style="bold"),
            Text(""),
        ]

    def _foot(self) -> list[Text]:
        lines = [Text("")]
        for gateway, report in sorted(self._ledgers.items()):
            ledger, schedule = report.ledger, report.schedule
            dropped = sum(ledger.dropped.values())
            balance = Text(" balanced", "green") if report.balanced else Text(" NOT BALANCED", "bold red")
            numbers = (
                f"{gateway:<18} acquired {ledger.acquired:,} = unchanged {ledger.unchanged:,}"
                f" + dropped {dropped:,} + pending {ledger.pending:,} + confirmed {ledger.confirmed:,}"
            )
            scans = f"   scans due {schedule.due:,} missed {schedule.missed:,}"
            lines.append(Text.assemble(numbers, balance, scans, f"   spool {report.spool_bytes / 1024:.0f} KiB"))
        return lines

    def _values(self, row: _Row) -> Text:
        values = Text()
        points = {point.name: point for point in row.machine.points}
        for name in row.chosen:
            value, reason = row.values.get(name, (None, "..."))
            number = f"{value:.5g}" if isinstance(value, float) else "-" if value is None else str(value)
            values.append(f"{name} ", "dim")
            values.append(f"{number} {points[name].unit}", "red" if value is None else "yellow" if reason else "")
            values.append(f" {reason}  " if reason else "  ", "red")
        return values

    @staticmethod
    def _rate(row: _Row) -> float:
        since = time.monotonic() - RATE_SECONDS
        while row.arrivals and row.arrivals[0][0] < since:
            row.arrivals.popleft()
        return sum(readings for _, readings in row.arrivals) / RATE_SECONDS
