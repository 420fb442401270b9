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
from gateway.common.text import printable
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

OEE = "oee"
"""The point with the OEE of the running shift."""

WIDE = 120
"""Columns of a terminal from which on there is room for everything."""

FEWEST_ROWS, OTHER_LINES = 3, 6
"""Machines shown at the least, and lines that are neither machines nor ledgers."""

PAGE_SECONDS = 6.0
"""Seconds for which a page of the machines is shown."""

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


def _oee(row: _Row) -> str:
    """Return the OEE of a machine in percent; empty before there is one."""
    value, _ = row.values.get(OEE, (None, ""))
    return f"{value:.0f}%" if isinstance(value, int | float) else ""


def _table() -> Table:
    """Return an empty table without borders, as wide as the terminal."""
    return Table(expand=True, pad_edge=False, collapse_padding=True, box=None, header_style="bold")


class Screen:
    """A table that follows the broker, as any other consumer could."""

    def __init__(self, console: Console, folder: Path, page: str = "") -> None:
        """Prepare; `page` is the address of the web page, if there is one."""
        self._console = console
        self._page = page
        self._folder = folder
        self._rows: dict[MachinePath, _Row] = {}
        self._gateways: list[str] = []
        self._ledgers: dict[str, LedgerReport] = {}
        self._began = time.monotonic()

    def show(self, factories: list[Factory]) -> None:
        """Prepare the rows of the machines of some factories."""
        self._gateways = [factory.gateway.id for factory in factories]
        for factory in factories:
            for machine in factory.machines:
                read = (*machine.points, *machine.derived)
                own = [point.name for point in read if point.name not in _GENERAL and point.unit]
                self._rows[machine.path] = _Row(machine, own[-SHOWN_VALUES:])

    async def watch(self, factories: list[Factory]) -> None:
        """Show the machines of some factories until cancelled."""
        self.show(factories)
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
        wide = self._console.width >= WIDE
        return Group(self._head(), self._address(), self._machines(wide=wide), Text(""), self._balances(wide=wide))

    def _head(self) -> Text:
        seconds = time.monotonic() - self._began
        text = f"Lineside demo   {seconds:.0f} s   Ctrl-C stops   data in {self._folder}"
        return Text(text, style="bold", no_wrap=True, overflow="ellipsis")

    def _address(self) -> Text:
        """Return the address of the page, as a link for terminals that have links."""
        return Text(self._page, style=f"link {self._page}" if self._page else "", no_wrap=True, overflow="ellipsis")

    def _machines(self, *, wide: bool) -> Table:
        """Return the machines that have room, page after page."""
        room = max(FEWEST_ROWS, self._console.height - len(self._gateways) - OTHER_LINES)
        pages = -(-len(self._rows) // room)
        first = int((time.monotonic() - self._began) / PAGE_SECONDS) % pages * room
        rows = list(self._rows.values())[first : first + room]
        table = _table()
        table.add_column(
            f"machine {first + 1} to {first + len(rows)} of {len(self._rows)}", width=26 if wide else 23, no_wrap=True
        )
        if wide:
            table.add_column("type", width=22, no_wrap=True)
        table.add_column("state", width=8, no_wrap=True)
        table.add_column("read/s", width=6, justify="right", no_wrap=True)
        table.add_column("OEE", width=4, justify="right", no_wrap=True)
        table.add_column("values", ratio=1, no_wrap=True)  # gives way, before the others do
        for row in rows:
            path = row.machine.path
            cells = [f"{path.line}/{path.machine}", *([row.machine.template] if wide else [])]
            state = Text(printable(row.state), style=_COLOURS.get(row.state, ""))
            table.add_row(*cells, state, f"{self._rate(row):.1f}", _oee(row), self._values(row))
        return table

    def _balances(self, *, wide: bool) -> Table:
        """Return the ledger of each gateway: acquired is the sum of the next four; and the scans."""
        table = _table()
        table.add_column("ledger of", ratio=1, no_wrap=True)
        for title, width in (("acquired", 9), ("unchanged", 9), ("dropped", 7), ("pending", 7), ("confirmed", 9)):
            table.add_column(title, width=width, justify="right", no_wrap=True)
        table.add_column("balanced", width=8, no_wrap=True)
        for title in ("due", "missed"):
            table.add_column(title, width=6, justify="right", no_wrap=True)
        if wide:
            table.add_column("spool KiB", width=9, justify="right", no_wrap=True)
        for gateway in self._gateways:
            report = self._ledgers.get(gateway)
            if report is None:
                table.add_row(gateway)
                continue
            ledger, schedule = report.ledger, report.schedule
            counts = (
                ledger.acquired, ledger.unchanged, sum(ledger.dropped.values()), ledger.pending, ledger.confirmed,
            )  # fmt: skip
            balance = Text("yes", "green") if report.balanced else Text("NO", "bold red")
            numbers = [f"{count:,}" for count in (schedule.due, schedule.missed)]
            spool = [f"{report.spool_bytes / 1024:,.0f}"] if wide else []
            table.add_row(gateway, *(f"{count:,}" for count in counts), balance, *numbers, *spool)
        return table

    def _values(self, row: _Row) -> Text:
        values = Text()
        points = {point.name: point for point in row.machine.all_points}
        for name in row.chosen:
            value, reason = row.values.get(name, (None, "..."))
            number = f"{value:.5g}" if isinstance(value, float) else "-" if value is None else printable(str(value))
            values.append(f"{name} ", "dim")
            values.append(f"{number} {points[name].unit}", "red" if value is None else "yellow" if reason else "")
            values.append(f" {printable(reason)}  " if reason else "  ", "red")
        return values

    @staticmethod
    def _rate(row: _Row) -> float:
        since = time.monotonic() - RATE_SECONDS
        while row.arrivals and row.arrivals[0][0] < since:
            row.arrivals.popleft()
        return sum(readings for _, readings in row.arrivals) / RATE_SECONDS
