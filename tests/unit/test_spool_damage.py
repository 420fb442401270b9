"""Damage to the spool's files: whatever happens to them, a start succeeds, and the loss is known."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from chaos.damage import one_round

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS, BATCHES = 15, 10


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(BATCHES))
def test_the_spool_starts_after_any_damage_and_counts_its_losses(tmp_path: Path, seed: int) -> None:
    """An edge box loses power, and its disk ages: that must never stop a line from being read."""
    for number in range(ROUNDS):
        one_round(tmp_path / f"{number}", seed * ROUNDS + number)
        shutil.rmtree(tmp_path / f"{number}")
