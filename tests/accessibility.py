"""What axe-core finds on a page that a person with a screen reader or a keyboard would stumble over."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

SEVERE = ("serious", "critical")


def severe_findings(page: Page) -> list[str]:
    """Return the serious findings, each with its rule and the first element that has it."""
    page.evaluate(files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    # of the rules that find nothing, one element is enough: a list of all takes as long as the check
    result = page.evaluate("async () => axe.run({resultTypes: ['violations']})")
    assert result["passes"], "axe-core has looked at nothing"
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:200]} {one['nodes'][0].get('failureSummary', '')}"
        for one in result["violations"]
        if one["impact"] in SEVERE
    ]
