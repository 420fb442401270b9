"""The texts of the page, and their translations."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import polib
import pytest

from gateway.dashboard.texts import LANGUAGES, catalogue

ROOT = Path(__file__).resolve().parents[2]


SPEC = spec_from_file_location("texts_tool", ROOT / "tools" / "texts.py")
assert SPEC is not None
assert SPEC.loader is not None
texts = module_from_spec(SPEC)
sys.modules[SPEC.name] = texts  # dataclasses look their module up
SPEC.loader.exec_module(texts)


@pytest.mark.slow
@pytest.mark.parametrize("language", [one for one in LANGUAGES if one != "en"])
def test_every_text_is_translated_with_its_placeholders(language: str):
    """A reader who does not know English must not find English; nor a number that is missing in a sentence."""
    file = polib.pofile(str(ROOT / "gateway" / "dashboard" / "texts" / f"{language}.po"))
    assert list(texts.problems_of(file, texts.collect())) == []
    assert file.metadata["Plural-Forms"] == texts.PLURAL_FORMS[language]


def test_texts_of_scripts_are_found_in_all_their_forms():
    """A text that the tool overlooks would stay English."""
    source = """
      t("a \\"quoted\\" text"); tn("{count} part",
        "{count} parts", count); mark("held"); set("no text"); format("n"); x.t("no text"); t(name);
      h("p", { text: t("über {name}", { name }) });
    """
    assert list(texts.calls_of_script(source)) == [
        ('a "quoted" text', ""), ("{count} part", "{count} parts"), ("held", ""), ("über {name}", ""),
    ]  # fmt: skip
    assert list(texts.calls_of_python('_("one")\nother("two")')) == [("one", "")]


def test_a_text_in_other_quotes_is_refused_with_its_line():
    """A template can't be translated: its values would be in the key."""
    with pytest.raises(ValueError, match=r"^2: write the text in double quotes"):
        list(texts.calls_of_script("\nt(`${count} parts`)"))


def test_a_text_of_python_is_written_in_its_call():
    """A name or a text with values in it can't be found in a catalogue."""
    for source in ("_(name)", '_(f"{count} parts")'):
        with pytest.raises(ValueError, match=r"^2: write the text in the call"):
            list(texts.calls_of_python(f"\n{source}"))


@pytest.mark.parametrize(
    "source",
    [
        'raise Wrong("no point is chosen")',
        'raise Wrong(f"{count} points are chosen")',
        'raise module.Wrong("no point" if count else "")',
        'raise HTTPException(404, "not found")',
        'raise Wrong("no {}".format(name))',
        'class Worse(Wrong):\n    def __init__(self): super().__init__("no point")',
        'error(request, 404, "there is no such connection")',
        'json_answer({"error": "not found"}, 404)',
        'json_answer({"error": str(error)}, 404)',
        'PlainTextResponse("the sign-in failed")',
    ],
)
def test_an_error_for_readers_that_is_in_no_catalogue_is_found(source: str, tmp_path: Path):
    """A reader in Huangdao must not find English where something went wrong."""
    (tmp_path / "errors.py").write_text("class Base(ReaderError): ...\nclass Wrong(errors.Base): ...\n")
    (tmp_path / "routes.py").write_text(f"{source}\n")
    with pytest.raises(texts.Problems, match=r"^routes.py:\d: a reader sees .*; write it as _"):
        texts.collect(tmp_path)


@pytest.mark.parametrize(
    "source",
    [
        'raise Wrong(_("no point is chosen"))',
        "raise Wrong(text)",
        'raise ValueError("no reader sees this")',
        'log.error("dashboard.query_failed", hint="look at the store")',
        'error(request, 404, _("not found"), kind="failed")',
        'state = {"error": "", "kind": "failed"}',
        'found = {"error": link.error}',
    ],
)
def test_a_text_that_no_reader_sees_may_be_written_as_it_is(source: str, tmp_path: Path):
    """Names of errors, log events and texts of other programs have no translation."""
    (tmp_path / "errors.py").write_text("class Wrong(ReaderError): ...\n")
    (tmp_path / "routes.py").write_text(f"{source}\n")
    assert set(texts.collect(tmp_path)) <= {"no point is chosen", "not found"}


def test_a_text_with_and_without_a_plural_is_refused(tmp_path: Path):
    """One key can't have a translation and a list of forms."""
    scripts = tmp_path / "static" / "js"
    scripts.mkdir(parents=True)
    (scripts / "a.js").write_text('t("part"); tn("part", "parts", 2);')
    with pytest.raises(texts.Problems, match=r"static/js/a.js: 'part' is used with and without a plural"):
        texts.collect(tmp_path)


def test_an_update_keeps_translations_and_unused_texts_until_they_are_pruned():
    """A branch with other texts is merged later: its translations must not be lost meanwhile."""
    file = polib.POFile()
    file.metadata = {"Plural-Forms": texts.PLURAL_FORMS["de"]}
    file.append(polib.POEntry(msgid="held", msgstr="angehalten"))
    file.append(polib.POEntry(msgid="gone", msgstr="weg"))
    wanted = {"held": texts.Text("held"), "part": texts.Text("part", "parts")}
    texts.update(file, wanted)
    assert {one.msgid: one.msgstr for one in file} == {"held": "angehalten", "gone": "weg", "part": ""}
    assert file.find("part").msgstr_plural == {0: "", 1: ""}
    assert len(list(texts.problems_of(file, wanted))) == 2
    texts.update(file, wanted, prune=True)
    assert [one.msgid for one in file] == ["held", "part"]


@pytest.mark.parametrize(
    ("translation", "right"), [("{bad} von {all}", True), ("{bad}", False), ("{bad} von {alle}", False), ("", False)]
)
def test_a_translation_has_the_placeholders_of_its_text(translation: str, right: bool):  # noqa: FBT001 - a case
    """`{alle}` would be shown as it is written."""
    file = polib.POFile()
    file.append(polib.POEntry(msgid="{bad} of {all}", msgstr=translation))
    assert (list(texts.problems_of(file, {})) == []) is right


def test_a_catalogue_has_lists_for_texts_that_depend_on_a_number():
    """The page chooses the form by the plural rules of the language."""
    german, chinese = catalogue("de"), catalogue("zh")
    assert len(german["{count} machine"]) == 2
    assert len(chinese["{count} machine"]) == 1
    assert catalogue("en") == {}
