"""Factories with a dashboard, for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from processes import write_factory

if TYPE_CHECKING:
    from pathlib import Path

LINES = {
    "curing-1": {
        "area": "curing",
        "machines": {"press-01": {"template": "press", "connection": "modbus+tcp://127.0.0.1:502"}},
    }
}


def factory(folder: Path, **dashboard: Any) -> Path:
    (folder / "machines").mkdir(exist_ok=True)
    (folder / "machines" / "press.yaml").write_text(
        "format: 1\nprotocol: modbus\npoints: {pressure: {address: holding 0, unit: bar}}\n"
    )
    return write_factory(
        folder / "factory.yaml", broker={"url": "mqtt://localhost"}, lines=LINES, dashboard=dashboard
    )
