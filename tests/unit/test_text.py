"""Text that is allowed in names, templates, units, labels and descriptions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.text import FORBIDDEN_TEXT, check_text, clean_text


@pytest.mark.parametrize(
    ("text", "character"),
    [
        ("a\\", "a backslash (U+005C) at character 2"),
        ('12" pipe', "a double quote (U+0022) at character 3"),
        ("a\nb", "a line feed (U+000A) at character 2"),
        ("\x1b[31m", "a control character (U+001B) at character 1"),
        ("\x85", "a control character (U+0085) at character 1"),
        ("a\u2028", "line separator (U+2028) at character 2"),
        ("a\u202etxt", "right-to-left override (U+202E) at character 2"),
        ("\u2066", "left-to-right isolate (U+2066) at character 1"),
        ("\u061c", "arabic letter mark (U+061C) at character 1"),
        ("\ud800", "a surrogate (U+D800) at character 1"),
    ],
)
def test_forbidden_character_is_named_with_its_position(text: str, character: str) -> None:
    """Most of these are invisible: a message without code point and position helps nobody to find them."""
    with pytest.raises(ValueError, match="contains") as caught:
        check_text(text, 100)
    assert character in str(caught.value)


@pytest.mark.parametrize("text", ["", "bladder_pressure", "[in_i'H2O]", "Cel", "Ω", "温度 1", "l'air", "😀", "%{RH}"])
def test_ordinary_text_of_any_script_is_let_through(text: str) -> None:
    """Plants name things in their own language; UCUM codes contain single quotes, brackets and braces."""
    assert check_text(text, 100) == text


def test_text_at_the_limit_is_accepted_and_longer_text_is_refused() -> None:
    """A bound on each text bounds the descriptions that ingest keeps in memory."""
    assert check_text("x" * 64, 64) == "x" * 64
    with pytest.raises(ValueError, match="is 65 characters long; the limit is 64"):
        check_text("x" * 65, 64)


@given(st.text())
def test_text_that_passes_is_a_single_line_of_utf_8(text: str) -> None:
    """This is what stores rely on: one line, no escape, and bytes that every peer can decode."""
    if FORBIDDEN_TEXT.search(text):
        with pytest.raises(ValueError, match="contains"):
            check_text(text, len(text))
    else:
        assert check_text(text, len(text)) == text
        assert len(text.splitlines()) <= 1
        assert text.encode().decode() == text


def test_text_of_devices_is_cleaned_so_that_it_passes() -> None:
    """A server's description must not make its template invalid."""
    assert clean_text('12" pipe\\n\tof \u202epress\n', 100) == "12' pipe/n of  press"


@given(st.text(), st.integers(0, 50))
def test_cleaned_text_always_passes_the_check(text: str, most: int) -> None:
    """This is true for every character of Unicode."""
    assert check_text(clean_text(text, most), most) is not None
