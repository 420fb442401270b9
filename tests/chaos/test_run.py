"""The minute of chaos that every run of the tests has, in two halves; `make chaos` runs ten."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chaos.run import run

if TYPE_CHECKING:
    from pathlib import Path

WITHIN = 20.0
"""Seconds for a fresh reading once all is healed: this machine runs other tests as well; `make chaos` gives five."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("seed", "spool"), [(3472, "512KiB"), (1891, "256KiB")], ids=["heard", "full at times"])
async def test_half_a_minute_of_faults_loses_and_doubles_nothing(tmp_path: Path, seed: int, spool: str):
    """All processes are killed, also inside their starts, frozen and cut off from each other; disks are full.

    Clocks are stepped, rights refused, answers are those of something else, the configuration changes.
    """
    outcome = await run(tmp_path, seed, 30.0, 5.0, spool, WITHIN)
    assert outcome.kept, f"\n{outcome}\nwhat there is to find out why: {tmp_path}"
    assert outcome.kills >= 3
    assert len(outcome.faults) >= 6
    assert outcome.verdict.stored > 50
    assert (outcome.confirmed > 0) == (seed % 2 == 0), "an even seed knows what was confirmed, and looks for it"
