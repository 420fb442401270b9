"""`make bench` measures: one row in its shortest form, with real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from processes import need

ROOT = Path(__file__).parent.parent.parent


def test_a_row_is_measured_printed_and_written(tmp_path: Path):
    """Figures that nobody can measure again are worth nothing, so the way to measure them has a test."""
    need("mosquitto")
    file = tmp_path / "bench.json"
    options = [
        "modbus-20x100",
        "all-out",  # has no rate that a busy machine may miss
        "--runs",
        "1",
        "--seconds",
        "1",
        "--warm-up",
        "2",
        "--peers",
        "--json",
        str(file),
    ]
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "bench.py"), *options],
        check=False, capture_output=True, text=True, timeout=240, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    written = json.loads(file.read_text(encoding="utf-8"))
    assert {"commit", "date", "machine", "python", "simulator"} <= written.keys()
    assert written["rows"].keys() == {"modbus-20x100", "all-out"}
    cost = written["rows"]["modbus-20x100"]["figures"]["Lineside"]
    assert 0.1 < cost < 1000.0, "microseconds of processor time a value"
    rate = written["rows"]["all-out"]["figures"]["Lineside"]
    assert 1_000 < rate < 100_000_000, "values a second"
    assert "| Modbus, 20 x 100 at 1 s " in done.stdout
    assert "machines that answer from memory" in done.stdout
