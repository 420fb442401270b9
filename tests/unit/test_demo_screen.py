"""The live table of the demo in small terminals."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from gateway.demo.demo import PLANTS
from gateway.demo.screen import Screen
from gateway.model.reading import NamedScan
from gateway.mqtt.messages import parse_ledger
from gateway.settings.load import load_factory
from gateway.settings.templates import bundled_config

LEDGER = (
    b'{"balanced":true,"spool_bytes":40960,"ledger":{"acquired":1234567,"unchanged":800000,"dropped":{},"pending":67,'
    b'"confirmed":434500},"schedule":{"due":45678,"taken":45670,"missed":8}}'
)


def picture(columns: int, rows: int) -> list[str]:
    """Return the lines of a picture of the bundled plants at work."""
    output = io.StringIO()
    console = Console(file=output, width=columns, height=rows, force_terminal=False)
    factories = [load_factory(bundled_config() / f"{plant}.yaml") for plant in PLANTS]
    screen = Screen(console, Path("/data/demo"))
    screen.show(factories)
    for factory in factories:
        screen._ledgers[factory.gateway.id] = parse_ledger(LEDGER)  # noqa: SLF001 - as the broker delivers it
        for machine in factory.machines:
            values = {point.name: 12.5 for point in machine.points}
            screen._rows[machine.path].add(NamedScan(1, values, {}))  # noqa: SLF001 - as above
    console.print(screen._picture())  # noqa: SLF001 - as it is drawn
    return output.getvalue().splitlines()


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (80, 40), (120, 24), (200, 60), (60, 20)])
def test_values_and_both_ledgers_fit(columns: int, rows: int) -> None:
    """A terminal of 80 x 24 is what most people have."""
    lines = picture(columns, rows)
    assert len(lines) <= rows - 1
    assert max(len(line.rstrip()) for line in lines) <= columns
    text = "\n".join(lines)
    if columns >= 80:
        assert text.count("12.5") >= rows - 12
        for number in ("1,234,567", "800,000", "434,500", "45,678"):
            assert text.count(number) == 2
        assert [line.split()[0][:6] for line in lines[-2:]] == ["edge-t", "edge-a"]
    assert all("yes" in line for line in lines[-2:])
    assert "of 39" in text
