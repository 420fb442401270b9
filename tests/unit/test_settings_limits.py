"""Limits of a configuration: no file exhausts the memory or the time of a gateway that reads it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from gateway.settings import document
from gateway.settings.document import read_document
from gateway.settings.load import load_factory
from gateway.settings.problems import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "format: 1\nfactory: {enterprise: a, site: b}\ngateway: {id: e}\nbroker: {url: 'mqtt://h'}\n"

ONE = "lines: {l: {area: a, machines: {m: {template: press, connection: 'modbus+tcp://h'}}}}\n"

TEMPLATE = "format: 1\nprotocol: modbus\npoints:\n"


def problems(folder: Path, text: str, **templates: str) -> list[str]:
    """Return the problems of a factory, without its folder."""
    file = folder / "factory.yaml"
    file.write_text(text, encoding="utf-8")
    for name, template in templates.items():
        (folder / "machines").mkdir(exist_ok=True)
        (folder / "machines" / f"{name}.yaml").write_text(template, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load_factory(file)
    return [str(problem).removeprefix(f"{folder}/") for problem in caught.value.problems]


@pytest.mark.slow
def test_aliases_of_aliases_are_expanded_up_to_a_limit(tmp_path: Path) -> None:
    """Nine lines can stand for a thousand million values (a "billion laughs" file)."""
    levels = [f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 9)}]\n" for i in range(1, 10)]
    began = time.process_time()
    [problem] = problems(tmp_path, HEAD + "x0: &x0 [a, a, a, a, a, a, a, a, a]\n" + "".join(levels))
    assert "the aliases of this file stand for more than 100,000 values" in problem
    assert problem.startswith("factory.yaml:1")
    assert time.process_time() - began < 5


def test_an_alias_has_the_value_and_the_place_of_its_anchor(tmp_path: Path) -> None:
    """Anchors are useful for the same points of two machines. A mistake is reported where it is written."""
    file = tmp_path / "factory.yaml"
    file.write_text("a: &a {b: [1, {c: x}]}\nd: *a\n&k e: *k\n", encoding="utf-8")
    read = read_document(file)
    assert read.data == {"a": {"b": [1, {"c": "x"}]}, "d": {"b": [1, {"c": "x"}]}, "e": "e"}
    assert read.mark(("d", "b", 1, "c")) == (1, 16)
    assert read.mark(("d",)) == (2, 1)
    assert read.problems == []


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_deep_nesting_is_refused_with_its_place(tmp_path: Path, opening: str) -> None:
    """Python's own limit would end the process that reads it."""
    for levels in (65, 100_000):
        [problem] = problems(tmp_path, HEAD + "lines:\n  " + opening * levels)
        assert problem.startswith("factory.yaml:6:")
        assert problem.endswith("is nested deeper than 64 levels")


@pytest.mark.parametrize(
    "digits", ["9" * 5000, "-" + "1" * 5000, "0x" + "f" * 5000, "0o" + "7" * 5000, "1." + "0" * 500]
)
def test_number_of_many_digits_is_refused_with_its_place(tmp_path: Path, digits: str) -> None:
    """Python refuses to convert more than 4,300 of them, with an error that nobody expects of a number."""
    found = problems(
        tmp_path, HEAD.replace("id: e", f"id: e, max_record: {digits}") + ONE, press=TEMPLATE + "  a: {}"
    )
    expected = f"factory.yaml:3:30: gateway.max_record: the number has {len(digits):,} characters; the limit is 100"
    assert expected in found


def test_file_and_its_values_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits are far above every plant; here they are small."""
    monkeypatch.setattr(document, "MOST_NODES", 50)
    assert problems(tmp_path, HEAD + f"a: [{'1, ' * 60}1]") == [
        "factory.yaml:5:125: has more than 50 values; split it with include"
    ]
    monkeypatch.setattr(document, "MOST_BYTES", 2**20)
    assert problems(tmp_path, "#" * (2**20 + 1)) == ["factory.yaml:1:1: is larger than 1 MiB; split it with include"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (
            b"a: 1\nb: \xe9t\xe9\n",
            "factory.yaml:2:4: is not UTF-8: there is a byte 0xE9 (é in Windows-1252 and Latin-1)",
        ),
        ("a: 1\n".encode("utf-16"), "factory.yaml:1:1: is UTF-16 text; save it as UTF-8"),
        (b"a: 1\n\n  b: \x1b[31m", "factory.yaml:3:6: is not YAML: control character (U+001B); remove it"),
        (
            b"format: 1\n<<: {c: 1}",
            "factory.yaml:2:1: merge keys (<<) are not part of YAML 1.2; write the merged keys here: c",
        ),
    ],
)
def test_invalid_yaml_is_reported_at_its_position(tmp_path: Path, content: bytes, problem: str) -> None:
    """An editor jumps there; most of these can't be seen."""
    file = tmp_path / "factory.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        load_factory(file)
    found = [str(one).removeprefix(f"{tmp_path}/") for one in caught.value.problems]
    assert any(one.startswith(problem) for one in found), found


@pytest.mark.slow
def test_machines_and_points_are_bounded(tmp_path: Path) -> None:
    """A slip in a range, or in a count, is found at once."""
    press = TEMPLATE + "  a: {address: coil 0}\n"
    lines = "".join(
        f"      m{i}-{{0001..9999}}: {{template: press, connection: 'modbus+tcp://h'}}\n" for i in range(9)
    )
    many = problems(tmp_path, HEAD + "lines:\n  l:\n    area: a\n    machines:\n" + lines, press=press)
    assert sum("the factory has more than 20,000 machines" in problem for problem in many) == 1
    large = problems(tmp_path, HEAD + ONE, press=TEMPLATE + "  a: {address: coil 0, count: 30000}\n")
    assert large == ["factory.yaml:5:33: lines.l.machines.m: has 30,000 points; the limit for one machine is 20,000"]


def test_templates_extend_one_another_up_to_a_limit(tmp_path: Path) -> None:
    """A chain has a few templates; a longer chain is a mistake of a generator."""
    chain = {f"t{i}": f"format: 1\nprotocol: modbus\nextends: t{i + 1}\n" for i in range(200)}
    found = problems(tmp_path, HEAD + ONE, press="format: 1\nprotocol: modbus\nextends: t0\n", **chain)
    assert found == ["machines/t31.yaml:3:1: extends: extends more than 32 templates, one after another"]


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ('description: "a\\\\b"', "description: contains a backslash (U+005C) at character 2; remove it"),
        ("description: '12\" pipe'", "description: contains a double quote (U+0022) at character 3; remove it"),
        (
            'description: "a\\u202eb"',
            "description: contains right-to-left override (U+202E) at character 2; remove it",
        ),
        ('description: "a\\nb"', "description: contains a line feed (U+000A) at character 2; remove it"),
        ("unit: '{\"part}'", "unit: contains a double quote (U+0022) at character 2; remove it"),
        ("unit: '{a\\b}'", "unit: contains a backslash (U+005C) at character 3; remove it"),
        ('raw: uint16, labels: {1: "on\\x1b"}', "labels: contains a control character (U+001B) at character 3"),
        (f"description: {'x' * 1025}", "description: is 1,025 characters long; the limit is 1,024"),
    ],
)
def test_text_that_breaks_stores_and_terminals_is_refused(tmp_path: Path, keys: str, problem: str) -> None:
    """A backslash at the end of a tag rewrote other series of a store; a bidi control shows another name."""
    [found] = problems(tmp_path, HEAD + ONE, press=TEMPLATE + f"  a: {{address: holding 0, {keys}}}\n")
    assert f"points.a.{problem}" in found


def test_block_text_may_end_with_a_line_feed(tmp_path: Path) -> None:
    """YAML's blocks always do."""
    (tmp_path / "machines").mkdir()
    template = TEMPLATE + "  a:\n    address: coil 0\n    description: >\n      Inside\n      the bladder\n"
    (tmp_path / "machines" / "press.yaml").write_text(template, encoding="utf-8")
    (tmp_path / "factory.yaml").write_text(HEAD + ONE, encoding="utf-8")
    [machine] = load_factory(tmp_path / "factory.yaml").machines
    assert machine.points[0].description == "Inside the bladder"


@pytest.mark.parametrize("pattern", ["../*.yaml", "/etc/*", "a/../../b", "x" * 300, "**/" * 200])
def test_include_stays_below_its_folder(tmp_path: Path, pattern: str) -> None:
    """A pattern that leaves it could search the whole disk."""
    text = HEAD + ONE + f"include: ['{pattern}']\n"
    [problem, *_] = problems(tmp_path, text, press=TEMPLATE + "  a: {address: coil 0}\n")
    assert "write a file below the folder of this file" in problem


def test_problem_shows_no_control_characters(tmp_path: Path) -> None:
    """Otherwise a key of a file could reverse the text of a terminal, or clear it."""
    found = problems(tmp_path, HEAD + ONE + '"\\e[2J\\u202e": 1\n', press=TEMPLATE + "  a: {address: coil 0}\n")
    assert any("\\x1b[2J\\u202e" in problem for problem in found)
    assert all(problem.isprintable() for problem in found)


def test_folder_of_nobody_is_reported(tmp_path: Path) -> None:
    """`~name` asks the system for a user that may not be there."""
    text = HEAD.replace("id: e", "id: e, spool: {folder: '~nobody-there/x'}") + ONE
    found = problems(tmp_path, text, press=TEMPLATE + "  a: {address: coil 0}\n")
    assert (
        "factory.yaml:3:26: gateway.spool.folder: '~nobody-there/x' begins with the home folder of an unknown user"
        in found
    )
