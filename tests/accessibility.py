"""What axe-core finds on a page: barriers for people with a screen reader, a keyboard, or weak eyes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import axe_core_python

if TYPE_CHECKING:
    from playwright.sync_api import Page

AXE = Path(axe_core_python.__file__).parent / "axe.min.js"

FIND = """async () => (await axe.run(document)).violations
    .filter((one) => ["serious", "critical"].includes(one.impact))
    .map((one) => `${one.id}: ${one.nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(" | ")}`)"""


def barriers(page: Page) -> list[str]:
    """Return the serious and critical findings of axe-core, each with some of its elements."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[str] = page.evaluate(FIND)
    return found
