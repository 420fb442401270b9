"""The colours of the page: each text is readable on each background (WCAG 2.2, 1.4.3 and 1.4.11)."""

import re
from functools import cache
from itertools import product
from pathlib import Path

import pytest

import gateway.dashboard

THEME = Path(gateway.dashboard.__file__).parent / "static" / "css" / "theme.css"
BACKGROUNDS = ("ground", "panel", "panel-raised", "panel-sunken")
TEXTS = ("text", "text-muted", "accent", "quality-bad", "quality-uncertain", "held", "aborted", "offline", "good")
FILLED = ("accent", "priority-1", "priority-2", "priority-3", "priority-4")


@cache
def tokens(theme: str) -> dict[str, str]:
    """Return the colours of a theme by name."""
    light, dark = THEME.read_text().split(':root[data-theme="dark"]')
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light if theme == "light" else dark))


def luminance(colour: str) -> float:
    """Return the relative luminance of `#rrggbb`, 0 to 1 (WCAG 2.2, definition of relative luminance)."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours, 1 to 21."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_the_contrast_of_known_pairs():
    """Black on white has the largest ratio; #767676 is the lightest grey for text on white."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("text", "background"), list(product(TEXTS, BACKGROUNDS)))
def test_each_text_is_readable_on_each_background(theme: str, text: str, background: str):
    """A selected or hovered row changes the background below every colour."""
    colours = tokens(theme)
    assert contrast(colours[text], colours[background]) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("fill", FILLED)
def test_the_text_in_a_filled_mark_is_readable(theme: str, fill: str):
    """Priorities, banners and the main button carry text of their own."""
    colours = tokens(theme)
    assert contrast(colours[f"{fill}-text"], colours[fill]) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("series", "background"), list(product(range(1, 9), ("panel", "panel-raised"))))
def test_each_line_of_a_chart_is_visible(theme: str, series: int, background: str):
    """Graphics need 3:1 (WCAG 2.2, 1.4.11)."""
    colours = tokens(theme)
    assert contrast(colours[f"series-{series}"], colours[background]) >= 3
