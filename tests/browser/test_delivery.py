"""The view of delivery in a browser: flows that balance, and what is dead or wrong first."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest
from accessibility import severe_findings
from page_plant import PlantWithPage, wait_for
from processes import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Page

    Open = Callable[..., Page]

pytestmark = pytest.mark.browser

PATIENCE = 60_000
"""Milliseconds."""

GATEWAYS = "lineside/v1/acme/north/_gateways"
HOSTILE = "<script>document.title='taken'</script>"


def number(text: str) -> int:
    return int(re.sub(r"\D", "", text))


async def _publish(plant: PlantWithPage, messages: dict[str, bytes]) -> None:
    async with aiomqtt.Client(LOOPBACK, plant.broker.port) as client:
        for topic, payload in messages.items():
            await client.publish(topic, payload, qos=1, retain=True)


@pytest.fixture
def others(plant: PlantWithPage) -> Iterator[Callable[[str, dict[str, Any], dict[str, Any]], None]]:
    """A function that publishes the state and the ledger of another gateway of the plant."""
    topics: list[str] = []

    def publish(name: str, state: dict[str, Any], ledger: dict[str, Any]) -> None:
        found = {f"{GATEWAYS}/{name}/state": state, f"{GATEWAYS}/{name}/ledger": ledger}
        topics.extend(found)
        wait_for(_publish(plant, {topic: json.dumps(content).encode() for topic, content in found.items()}))

    yield publish
    wait_for(_publish(plant, dict.fromkeys(topics, b"")))


def report(**ledger: Any) -> dict[str, Any]:
    counts = {"acquired": 100, "unchanged": 60, "dropped": {}, "pending": 0, "confirmed": 40} | ledger
    known = counts["unchanged"] + counts["pending"] + counts["confirmed"] + sum(counts["dropped"].values())
    return {
        "time": 1_764_000_000_000_000, "seconds": 12.0, "balanced": known == counts["acquired"], "spool_bytes": 4096,
        "ledger": counts, "schedule": {"due": 10, "taken": 9, "missed": 1}, "clock": {"trusted": True, "steps": 2},
    }  # fmt: skip


def test_every_reading_is_accounted_for_before_ones_eyes(open_view: Open):
    """A reader at 3 a.m. sees without a manual that nothing was lost."""
    page = open_view("/delivery")
    card = page.locator(".member", has_text="Gateway edge-01")
    card.locator(".equation[data-balanced=yes]").wait_for(timeout=PATIENCE)
    acquired, *became = map(number, re.split(r"[=+]", card.locator(".equation span").first.inner_text()))
    assert acquired == sum(became) > 0
    assert "balanced" in card.locator(".verdict").inner_text()
    shares = [number(row.inner_text()) for row in card.locator(".flow-parts .flow-number").all()]
    assert len(shares) == 4
    # the first report may come before a reading was filtered or confirmed
    card.locator(".flow-ribbon[d*='M']").nth(1).wait_for(state="attached", timeout=PATIENCE)
    sentence = page.locator(".account[data-kind=good] .account-text").inner_text()
    assert re.match(r"All [\d,]+ readings acquired are accounted for: .*\. None was lost\.", sentence)
    page.locator(".panel").first.get_by_text("Every gateway and every ingest is online").wait_for(timeout=PATIENCE)
    scans = card.locator(".fact-grid div", has_text="Scans").first.inner_text()
    due, taken, missed = map(number, re.split(r"[=+]", scans.partition("\n")[2]))
    assert due == taken + missed > 0
    ingest = page.locator(".member", has_text="Ingest ingest-edge-01")
    ingest.locator("td", has_text="available").wait_for(timeout=PATIENCE)
    page.wait_for_function(
        "() => [...document.querySelectorAll('.fact-grid dd')].some((one) => one.textContent.includes('per second'))",
        timeout=PATIENCE,
    )


def test_a_gateway_that_is_dead_or_wrong_comes_first_with_its_reason(
    open_view: Open, others: Callable[[str, dict[str, Any], dict[str, Any]], None]
):
    """Texts of the broker stay texts, also where they are markup."""
    page = open_view("/delivery")
    page.locator(".equation[data-balanced=yes]").first.wait_for(timeout=PATIENCE)
    state = {"instance": "a1", "host": HOSTILE, "birth": 3, "version": "9.9.9", "reason": "connection lost"}
    others("edge-07", state | {"state": "offline"}, report())
    others("edge-08", state | {"state": "online"}, report(acquired=131))
    rows = page.locator(".problems li")
    rows.filter(has_text="edge-08").filter(has_text="31 readings are not accounted for").wait_for(timeout=PATIENCE)
    assert "is offline: connection lost" in rows.filter(has_text="edge-07").inner_text()
    names = [name.inner_text() for name in page.locator(".member h2").all()]
    assert names[:2] == ["Gateway edge-07", "Gateway edge-08"]
    broken = page.locator(".member", has_text="Gateway edge-08")
    broken.scroll_into_view_if_needed()  # figures come for the cards that are on the screen
    broken.locator(".equation[data-balanced=no]").wait_for(timeout=PATIENCE)
    assert "differs by 31 readings" in broken.inner_text()
    assert HOSTILE in broken.inner_text()
    account = page.locator(".account[data-kind=wrong]").inner_text()
    assert re.search(r"31 of [\d,]+ readings acquired are not accounted for", account)
    assert "Offline: edge-07" in account
    assert page.title() == "Delivery · Lineside"
    assert severe_findings(page) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_everybody_can_read_the_view(open_view: Open, theme: str):
    """With a screen reader, without colours, in a dark room."""
    page = open_view("/delivery", color_scheme=theme)
    page.locator(".equation[data-balanced=yes]").first.wait_for(timeout=PATIENCE)
    assert severe_findings(page) == []


def test_the_view_fits_a_tablet(open_view: Open):
    """A shift leader carries one."""
    page = open_view("/delivery", viewport={"width": 768, "height": 1024})
    page.locator(".equation[data-balanced=yes]").first.wait_for(timeout=PATIENCE)
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
