"""The minute of chaos that every run of the tests has; `make chaos` runs ten."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chaos.run import run

if TYPE_CHECKING:
    from pathlib import Path

SEED = 1395
"""Its first twenty faults are of fourteen kinds; the spool is small enough to be full at times."""


@pytest.mark.timeout(600)
async def test_a_minute_of_faults_loses_and_doubles_nothing(tmp_path: Path):
    """All processes are killed, frozen and cut off from each other, the disk is full, the spool damaged."""
    outcome = await run(tmp_path, SEED, 60.0, 10.0, "512KiB")
    assert outcome.kept, f"\n{outcome}\nwhat there is to find out why: {tmp_path}"
