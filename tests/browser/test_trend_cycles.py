"""Cycles that are laid over each other, and a span of the past, out of a store that was filled before."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from page_link import start_page
from page_plant import wait_for
from processes import LOOPBACK, free_port
from trend_plant import PRESS, SECOND, START, fill, scan, write_plant

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

PATIENCE = 60_000

CYCLES, LENGTH = 4, 100


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a press that made four tyres, 100 s each. Its broker is away."""
    folder = tmp_path_factory.mktemp("press")
    factory = write_plant(folder)
    fill(
        folder,
        *(
            scan(
                n,
                pressure=16.0 if 20 <= n % LENGTH < 80 else 0.5 + n // LENGTH,
                phase=1 if n % LENGTH < 10 else 2 if n % LENGTH < 80 else 3,
                state=6,
            )
            for n in range(CYCLES * LENGTH)
        ),
    )
    port = free_port()
    page = wait_for(start_page(factory.file, f"{LOOPBACK}:{port}"))
    page.scope = "module"
    return f"http://{LOOPBACK}:{port}"


@pytest.fixture
def page(site: str, open_page: Callable[..., Page]) -> Page:
    """The trend of the four cycles."""
    query = {"point": f"{PRESS}/pressure", "from": START, "to": START + CYCLES * LENGTH * SECOND}
    page = open_page(f"{site}/trends?{urlencode(query)}")
    wait_for_series(page, 1)
    return page


def wait_for_series(page: Page, number: int) -> None:
    page.wait_for_function(
        "(number) => { const rows = [...document.querySelectorAll('.chart-table tbody tr')];"
        " return rows.length === number && rows.every((row) => /[0-9]/.test(row.lastChild.textContent)); }",
        arg=number, timeout=PATIENCE,
    )  # fmt: skip


def test_two_cycles_are_laid_over_each_other(page: Page) -> None:
    """A difference from a good cycle is seen at once: both begin at 0."""
    page.get_by_role("button", name="Compare cycles").click()
    wait_for_series(page, 2)
    assert page.get_by_label("Point that begins a cycle").locator("option").all_inner_texts()[:2] == [
        "phase",
        "state",
    ]
    cycles = page.locator(".cycle")
    # the first began before the first reading, and the last has not ended
    assert [one.inner_text() for one in cycles.all()] == ["17:03:20 1:40", "17:01:40 1:40"]
    assert page.locator(".legend-name").all_inner_texts() == ["17:01:40 · pressure", "17:03:20 · pressure"]
    lowest = page.locator(".chart-table tbody td:nth-child(3)").all_inner_texts()
    assert lowest == ["1.5", "2.5"]
    assert parse_qs(urlsplit(page.url).query)["begin"] == [str(START + n * LENGTH * SECOND) for n in (1, 2)]
    caption = page.locator(".chart-table caption").text_content()
    assert caption is not None
    assert caption.endswith("0:00.000 – 1:40.000".replace("–", "\N{EN DASH}"))  # noqa: RUF001 - of the page
    page.locator(".cycle[aria-pressed=true]").first.click()
    wait_for_series(page, 1)
    page.get_by_role("button", name="Compare cycles").click()
    page.wait_for_function("() => !document.querySelector('.cycle-list').checkVisibility()")
    wait_for_series(page, 1)
    assert "begin" not in parse_qs(urlsplit(page.url).query)


def test_a_link_reproduces_the_cycles(page: Page, open_page: Callable[..., Page]) -> None:
    page.get_by_role("button", name="Compare cycles").click()
    wait_for_series(page, 2)
    again = open_page(page.url)
    wait_for_series(again, 2)
    assert again.locator(".legend-name").all_inner_texts() == page.locator(".legend-name").all_inner_texts()


def test_the_states_of_the_machine_are_above_its_trend(page: Page) -> None:
    """A pressure means little without the state of the press."""
    length = 300 * SECOND
    # for the new span, with its margin of a tenth: the page gives up a request of the span before
    wanted = f"to={START + length + length // 10}"
    with page.expect_response(lambda answer: "/api/bands" in answer.url and wanted in answer.url) as answer:
        page.get_by_label("To", exact=True).fill("2025-11-24T17:05:00")
    assert answer.value.ok
    lanes = {lane["lane"]: [band["label"] for band in lane["bands"]] for lane in answer.value.json()["lanes"]}
    assert lanes["state"] == ["execute"]
    assert lanes["phase"][:4] == ["load", "steam", "open", "load"]
    query = parse_qs(urlsplit(page.url).query)
    assert int(query["to"][0]) == START + length
