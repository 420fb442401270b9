"""Each fault by itself, with all processes real: what was on the gateway's disk is neither lost nor doubled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chaos.faults import FAULTS, Injector
from chaos.plant import Plant
from chaos.run import judged

if TYPE_CHECKING:
    from pathlib import Path

FROZEN = 10.0
"""Seconds for which a process is stopped with its connections open."""

LASTS = 2.0
"""Seconds of all other faults, or a part of them."""

WITHIN = 20.0
"""Seconds for a fresh reading once the fault is healed, on a machine that runs other tests as well."""

TRIES = 5
"""A gateway may be killed between the two copies of its ledger, and its spool is not to be damaged then."""

pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_alone_loses_and_doubles_nothing(tmp_path: Path, name: str):
    """The fault happens, is healed, and a fresh reading is stored soon."""
    async with Plant(tmp_path, victoria="store" in name, heard=False) as plant:
        assert await plant.fresh(120.0) < 120.0, "nothing is stored"
        injector = Injector(plant, 0, LASTS)
        await injector.cause(name, FROZEN if name.startswith("freeze") else LASTS)
        while name == "damaged spool" and not injector.damaged and injector.counts[name] < TRIES:
            await injector.cause(name, LASTS)
        outcome = await judged(plant, injector, 0, LASTS, WITHIN)
    assert outcome.kept, f"\n{outcome}"
    assert injector.damaged == (name == "damaged spool"), "a byte of its spool was another"
    assert outcome.verdict.dropped == 0 or name == "damaged spool"
    assert outcome.verdict.excused == 0 or name.startswith(
        ("kill gateway", "freeze gateway", "full disk", "damaged", "changed")
    )
