"""The configuration that a worker gets: all that is configured survives the way to another process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.settings.load import load_factory
from gateway.workers.messages import decode_factory, encode_factory

BUNDLED = sorted((Path(__file__).parents[2] / "config").glob("*-plant.yaml"))


@pytest.mark.parametrize("file", BUNDLED, ids=lambda file: file.stem)
def test_a_worker_gets_each_machine_as_it_is_configured(file: Path) -> None:
    """With its points, alarms, parts and production; the document and the stores stay at home."""
    factory = load_factory(file)
    assert any(one.alarms and one.operations and one.production is not None for one in factory.machines)
    found = decode_factory(encode_factory(factory))
    expected = [replace(machine, place=None, written={}) for machine in factory.machines]
    assert list(found.machines) == expected
    assert (found.factory, found.gateway, found.broker, found.calendar) == (
        factory.factory, factory.gateway, factory.broker, factory.calendar
    )  # fmt: skip
    assert found.stores == ()
