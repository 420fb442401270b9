"""The texts of the page in the languages of its readers: one gettext catalogue (.po) for each.

The English text is the key. `tools/texts.py` collects the keys out of the page's modules.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

LANGUAGES = {"en": "English", "de": "Deutsch", "zh": "中文"}
"""Each language by its code, with its own name."""


@cache
def catalogue(language: str) -> dict[str, str | list[str]]:
    """Return the translations of a language by their English texts; empty for English.

    A text that depends on a number has a list: its plural forms, in the order of the language (Unicode CLDR).
    """
    if language == "en":
        return {}
    import polib  # noqa: PLC0415 - an extra

    found: dict[str, str | list[str]] = {}
    for entry in polib.pofile(str(Path(__file__).parent / f"{language}.po")):
        if entry.msgid_plural:
            found[entry.msgid] = [entry.msgstr_plural[at] for at in sorted(entry.msgstr_plural)]
        elif entry.msgstr:
            found[entry.msgid] = entry.msgstr
    return found
