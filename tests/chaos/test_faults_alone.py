"""Each fault by itself, with all processes real: readings on the gateway's disk are neither lost nor doubled.

The faults of a group happen to one plant, one after the other: each begins when a fresh reading is stored after the
fault before.
"""

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
"""Seconds for a fresh reading once a fault is healed, on a machine that runs other tests as well."""

TRIES = 5
"""A gateway may be killed between the two copies of its ledger, and its spool is not to be damaged then."""

GROUPS = {
    "gateway": ["kill gateway", "kill gateway in start", "freeze gateway", "full disk"],
    "damage": ["damaged spool"],
    "configuration": ["changed root", "changed id", "changed unit", "changed machine"],
    "broker": ["kill broker", "freeze broker", "refused rights", "cut gateway-broker", "drop gateway-broker"],
    "ingest": [
        "kill ingest", "kill ingest in start", "freeze ingest", "cut broker-ingest", "drop broker-ingest",
        "full disk of dead letters",
    ],
    "store": ["kill store", "freeze store", "cut ingest-store", "drop ingest-store", "other answers of store"],
    "clocks": ["clock step of gateway", "clock step of ingest"],
}  # fmt: skip
"""The faults that follow each other in a test."""

EXCUSED = {"gateway", "damage", "configuration"}
"""Groups whose faults end the gateway, or keep it from writing: the answers in its memory may be lost."""

pytestmark = pytest.mark.timeout(600)


def test_every_fault_is_in_a_group():
    """One that is new must not be left out."""
    assert sorted(name for group in GROUPS.values() for name in group) == sorted(FAULTS)


@pytest.mark.parametrize("group", GROUPS)
async def test_a_fault_alone_loses_and_doubles_nothing(tmp_path: Path, group: str):
    """The fault happens, is healed, and a fresh reading is stored soon."""
    async with Plant(tmp_path, victoria=group == "store", heard=False) as plant:
        assert await plant.fresh(120.0) < 120.0, "nothing is stored"
        injector = Injector(plant, 0, LASTS)
        for name in GROUPS[group]:
            await injector.cause(name, FROZEN if name.startswith("freeze") else LASTS)
            while name == "damaged spool" and not injector.damaged and injector.counts[name] < TRIES:
                await injector.cause(name, LASTS)
            assert await plant.fresh(3 * WITHIN) < WITHIN, f"after {name}"
        outcome = await judged(plant, injector, 0, LASTS, WITHIN)
    assert outcome.kept, f"\n{outcome}"
    assert injector.damaged == (group == "damage"), "a byte of its spool was another"
    assert outcome.verdict.dropped == 0 or group == "damage"
    assert outcome.verdict.excused == 0 or group in EXCUSED
