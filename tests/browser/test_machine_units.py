"""The view of a machine whose points have no unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hand_made_plant import SITE, HandMadePlant, now

from gateway.model.reading import NamedScan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Page

    Open = Callable[..., Page]

pytestmark = pytest.mark.browser

PATIENCE = 60_000
"""Milliseconds."""


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HandMadePlant]:
    """A counter of a machine that names no units at all."""
    plant = HandMadePlant.start(tmp_path_factory.mktemp("bare"))
    points = {"level": {"type": "float"}, "ratio": {"type": "float"}, "count": {"type": "int"}}
    plant.machine(f"{SITE}/area/line-1/bare-01", points)
    scans = [NamedScan(now() - n * 1_000_000, {"level": n / 2, "ratio": 0.5, "count": n}) for n in range(20, 0, -1)]
    plant.scan(f"{SITE}/area/line-1/bare-01", *scans)
    yield plant
    plant.stop()


def test_points_without_a_unit_have_values(bare: HandMadePlant, open_page: Open) -> None:
    """A ratio or a count has no unit; the page invents none."""
    path = f"{SITE}/area/line-1/bare-01"
    page = open_page(f"{bare.url}/machine/{path}")
    page.wait_for_selector("html[data-server=there] h1", timeout=PATIENCE)
    page.wait_for_function("() => /0[.]5/.test(document.querySelector('main').innerText)", timeout=PATIENCE)
    text = page.locator("main").inner_text()
    assert "undefined" not in text
    assert "null" not in text
