"""Break everything for some time, then look whether the promise was kept.

    make chaos                                   ten minutes, a new seed
    python -m chaos.run --seconds 60 --seed 7    from tests/

Prints the faults, and of the answers that machines gave how many are stored, excused (the gateway was killed before
they were on its disk), dropped (and counted so by the ledger), lost, doubled and wrong. Exits with 1 where the
promise broke; then the folder that it names has the logs, the spool, the store, the served answers, and the times of
the faults.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos.faults import FAULTS, Injector
from chaos.machines import POINTS
from chaos.oracle import HEADING, Stored, Verdict, betrayed, differences, judge
from chaos.plant import SPOOL_SIZE, Plant

if TYPE_CHECKING:
    from gateway.model.ledger import Ledger

FRESH = 5.0
"""Seconds within which a fresh reading must be stored once all is healed."""

SHOWN = 10.0
"""Seconds within which VictoriaMetrics shows what it was given."""

OFTEN, KILLS = 5, 150
"""So often ten minutes have each fault, and so many kills."""

DRAIN = 120.0
"""Seconds within which all that is pending must be stored: a resend may have backed off before."""


@dataclass
class Outcome:
    """The result of a run."""

    seed: int
    seconds: float
    faults: dict[str, int]
    kills: int
    fresh: float
    drained: float
    ledger: dict[str, Any]
    balanced: bool
    verdict: Verdict
    confirmed: int
    missing: list[tuple[int, int, str]] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @property
    def kept(self) -> bool:
        """Whether the promise was kept."""
        return self.verdict.good and not self.complaints

    def __str__(self) -> str:
        faults = sorted(self.faults.items())
        width = max((len(name) for name, _ in faults), default=0)
        return "\n".join([
            f"seed {self.seed}, {self.seconds:g} s: {sum(self.faults.values())} faults, {self.kills} of them kills",
            *(f"    {name:{width}} {n:4}" for name, n in faults),
            f"confirmed to the gateway as it was heard at the broker: {self.confirmed} answers",
            f"healed: a fresh reading stored after {self.fresh:.2f} s",
            f"machines off: all confirmed after {self.drained:.1f} s",
            f"ledger {self.ledger} {'balanced' if self.balanced else 'NOT BALANCED'}",
            HEADING,
            str(self.verdict),
            f"VictoriaMetrics lacks {len(self.missing)} readings of these, and has {len(self.differences)} others",
            *(f"    {one}" for one in self.differences[:10]),
            *self.complaints,
            "the promise was kept" if self.kept else "THE PROMISE WAS BROKEN",
        ])  # fmt: skip


async def run(
    folder: Path, seed: int, seconds: float, longest: float, spool: str = SPOOL_SIZE, within: float = FRESH
) -> Outcome:
    """Run a plant in a folder, break it for some time, heal it, and judge the stored readings.

    With an even seed a client listens to the records, and notes which of them are confirmed; see `Watch` for why an
    odd seed has no such client. `within` are the seconds for a fresh reading once all is healed: more than `FRESH`
    where the machine is busy with other tests. The folder then has all that there is to find out why a promise was
    broken.
    """
    injector = None
    try:
        async with Plant(folder, spool=spool, heard=seed % 2 == 0) as plant:
            await plant.fresh(30.0)
            injector = Injector(plant, seed, longest)
            await injector.run(seconds)
            return await judged(plant, injector, seed, seconds, within)
    finally:
        if injector is not None:
            _write_down(folder, injector)


async def judged(plant: Plant, injector: Injector, seed: int, seconds: float, within: float = FRESH) -> Outcome:
    """Wait until all is stored, stop the plant, and compare the stored readings with the served answers."""
    fresh = await plant.fresh(60.0)
    drained = await plant.drained(DRAIN)
    await plant.gateway.stop(60.0)
    report = plant.closing_report()
    await plant.ingest.stop(60.0)
    plant.truth.confirmed = plant.watch.confirmed
    ledger = whole_ledger(report["ledger"], plant.former_ledgers())
    dropped = sum(ledger["dropped"].values())
    stored = plant.sqlite_readings()
    outcome = Outcome(
        seed,
        seconds,
        dict(injector.counts),
        injector.kills,
        fresh,
        drained,
        ledger,
        report["balanced"] and all(former.balanced for former in plant.former_ledgers()),
        judge("SQLite", plant.truth, stored, dropped),
        len(plant.truth.confirmed),
        *await _settled_differences(plant, stored, dropped),
    )
    outcome.complaints = _complaints(outcome, len(stored), dropped, within)
    broken = betrayed(outcome.missing, stored, plant.truth, 1000)
    outcome.complaints += [f"VictoriaMetrics lacks {one}" for one in broken[:10]]
    spooled, acquired = plant.truth.spooled * POINTS + outcome.verdict.bad, outcome.ledger["acquired"]
    if acquired != spooled:
        outcome.complaints.append(f"{spooled} readings were on disk, and the ledger says {acquired}")
    return outcome


def whole_ledger(ledger: dict[str, Any], former: list[Ledger]) -> dict[str, Any]:
    """Return the ledger of a gateway together with those of its former ids.

    A reading that was adopted is in both: as dropped for this reason, and as acquired.
    """
    ledgers = [ledger, *(other.as_dict() for other in former)]
    dropped: Counter[str] = sum((Counter(one["dropped"]) for one in ledgers), Counter())
    adopted = dropped.pop("adopted", 0)
    totals = {name: sum(one[name] for one in ledgers) for name in ("acquired", "unchanged", "pending", "confirmed")}
    return totals | {"acquired": totals["acquired"] - adopted, "dropped": dict(dropped)}


def _write_down(folder: Path, injector: Injector) -> None:
    """Leave what only this process knows beside the logs. Times are in microseconds since the epoch."""
    truth = injector.plant.truth
    (folder / "faults.txt").write_text("".join(f"{line}\n" for line in sorted(injector.history)), encoding="utf-8")
    facts = {
        "served": truth.served,
        "excused": sorted(truth.excused),
        "confirmed": sorted(truth.confirmed),
        "off": truth.off,
    }
    (folder / "truth.json").write_text(json.dumps(facts), encoding="utf-8")


async def _settled_differences(
    plant: Plant, stored: list[Stored], dropped: int
) -> tuple[list[tuple[int, int, str]], list[str]]:
    """Return what VictoriaMetrics lacks of SQLite's, and shows otherwise, after the seconds that it may take to show.

    Records that were dropped from the spool, and counted, may have reached one store and not the other.
    """
    began = time.monotonic()
    if plant.store is None:
        return [], []
    while True:
        missing, other = differences(stored, plant.victoria_readings(), 1000)
        if (len(missing) <= dropped and not other) or time.monotonic() - began > SHOWN:
            return missing, other
        await asyncio.sleep(0.2)


def _complaints(outcome: Outcome, stored: int, dropped: int, within: float) -> list[str]:
    ledger, found = outcome.ledger, []
    if not outcome.balanced:
        found.append("the ledger does not balance")
    if ledger["pending"]:
        found.append(f"{ledger['pending']} readings are still pending")
    # stored readings may yet be dropped, where the confirmation came too late
    if not ledger["confirmed"] <= stored <= ledger["confirmed"] + dropped:
        found.append(f"{stored} readings are stored, {ledger['confirmed']} confirmed, {dropped} dropped")
    if len(outcome.missing) > dropped:
        found.append(f"VictoriaMetrics lacks {len(outcome.missing)} readings, and {dropped} were dropped")
    if outcome.differences:
        found.append("VictoriaMetrics holds what SQLite does not")
    if outcome.fresh > within:
        found.append(f"a fresh reading was stored after {outcome.fresh:.1f} s only")
    if outcome.drained > DRAIN:
        found.append(f"not all was confirmed within {DRAIN:g} s")
    return found


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    parser.add_argument("--longest", type=float, default=6.0, help="seconds that a fault lasts at the most")
    parser.add_argument(
        "--spool", default=SPOOL_SIZE, help="how large the spool may become; it is full often in 256KiB"
    )
    options = parser.parse_args()
    logging.getLogger("mqtt").setLevel(logging.CRITICAL + 1)  # it logs every broker that is killed
    folder = Path(tempfile.mkdtemp(prefix="lineside-chaos-"))
    sys.stderr.write(f"seed {options.seed}, in {folder}\n")
    outcome = asyncio.run(run(folder, options.seed, options.seconds, options.longest, options.spool))
    sys.stdout.write(f"{outcome}\n")
    rare = {name: outcome.faults.get(name, 0) for name in FAULTS if outcome.faults.get(name, 0) < OFTEN}
    if rare or outcome.kills < KILLS:
        sys.stdout.write(f"too little to show much: {outcome.kills} kills, and only {rare}\n")
    if outcome.kept:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        sys.stdout.write(f"what there is to find out why: {folder}\n")
    sys.exit(0 if outcome.kept else 1)


if __name__ == "__main__":
    main()
