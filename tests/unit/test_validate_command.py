"""`lineside validate`: several files of any kind, and its formats for people, programs and CI."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from json_schema import check_schema, errors

from gateway.cli import main
from gateway.cli.excerpt import Excerpts
from gateway.cli.problem_text import MOST_PROBLEMS, SAME_MESSAGES
from gateway.settings.problems import Problem
from gateway.settings.templates import bundled_config

ROOT = Path(__file__).parents[2]

PRESS = """format: 1
protocol: modbus
parameters: {base: null, gain: 1}
points:
  level: {address: "holding {base+1}", unit: "%"}
  state: {address: holding 9, scale: "{gain}"}
"""

LINES = """format: 1
lines:
  l2:
    area: a
    machines:
      press-2: {template: press, connection: "modbus+tcp://10.0.0.2", parameters: {base: 10}}
"""

FACTORY = """format: 1
factory: {enterprise: acme, site: north}
gateway: {id: edge-01}
broker: {url: "mqtt://localhost"}
include: [lines/*.yaml]
lines:
  l1:
    area: a
    machines:
      press-1: {template: press, connection: "modbus+tcp://10.0.0.1", parameters: {base: 0}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in {"factory.yaml": FACTORY, "lines/l2.yaml": LINES, "machines/press.yaml": PRESS}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def change(file: str, old: str, new: str) -> None:
    text = Path(file).read_text(encoding="utf-8")
    assert old in text
    Path(file).write_text(text.replace(old, new), encoding="utf-8")


def validate(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["validate", *arguments])


# -- files of any kind --


def test_several_files_are_checked_each_as_what_it_is(folder: Path) -> None:
    """A hook gives all files of a commit."""
    assert folder
    ran = validate("factory.yaml", "lines/l2.yaml", "machines/press.yaml")
    first, second, third, note = ran.stdout.splitlines()
    assert re.fullmatch(r"factory\.yaml: valid: 2 machines, 4 points; configuration [0-9a-f]{64}", first)
    assert second == "lines/l2.yaml: lines: valid: included by factory.yaml"
    assert third == "machines/press.yaml: template: valid: 2 points, 1 of them with parameters that each machine sets"
    assert note.startswith("factory.yaml: note: 2 machines are read by modbus+tcp")
    assert (ran.stderr, ran.exit_code) == ("", 0)


def test_lines_and_templates_are_checked_without_a_factory(folder: Path) -> None:
    """Templates of lines are in the nearest folder `machines` above them."""
    assert folder
    ran = validate("lines/l2.yaml", "machines/press.yaml")
    assert ran.stdout.splitlines()[0] == "lines/l2.yaml: lines: valid: 1 machine, 2 points"
    change("lines/l2.yaml", "template: press,", "template: pres,")
    change("machines/press.yaml", 'scale: "{gain}"', "scael: 2")
    ran = validate("lines/l2.yaml", "machines/press.yaml")
    assert "lines/l2.yaml:6:17: lines.l2.machines.press-2.template: unknown template 'pres'" in ran.stderr
    assert "machines/press.yaml:6:31: points.state.scael: unknown key 'scael'; did you mean 'scale'?" in ran.stderr
    assert "lines/l2.yaml: lines: 1 problem\n" in ran.stderr
    assert "machines/press.yaml: template: 1 problem\n" in ran.stderr
    assert (ran.stdout, ran.exit_code) == ("", 1)


@pytest.mark.parametrize("file", sorted((bundled_config() / "machines").glob("*.yaml")), ids=lambda file: file.stem)
def test_bundled_templates_are_valid_on_their_own(file: Path) -> None:
    """With those that they extend."""
    ran = validate(str(file))
    assert re.fullmatch(rf"{re.escape(str(file))}: template: valid: \d+ points.*\n", ran.stdout)
    assert ran.exit_code == 0


def test_a_mistake_of_a_template_is_printed_once_for_all_that_use_it(folder: Path) -> None:
    """Two factories and the template itself would report it three times."""
    change("machines/press.yaml", "holding 9", "holding nine")
    (folder / "other.yaml").write_text(FACTORY.replace("edge-01", "edge-02"), encoding="utf-8")
    ran = validate("factory.yaml", "other.yaml", "machines/press.yaml")
    assert ran.stderr.count("'holding nine' is not a Modbus address") == 1
    assert [line.rpartition(": ")[2] for line in ran.stderr.splitlines()[-3:]] == ["1 problem"] * 3


@pytest.mark.parametrize("name", ["press.yml", "my press.yaml"])
def test_a_template_that_no_factory_could_name_is_reported(folder: Path, name: str) -> None:
    """Its name is that of its file."""
    (folder / "machines" / name).write_text(PRESS, encoding="utf-8")
    ran = validate(f"machines/{name}")
    assert ran.exit_code == 1
    assert f"machines/{name}:1:1: the " in ran.stderr


def test_a_template_that_contains_itself_is_reported(folder: Path) -> None:
    assert folder
    change("machines/press.yaml", "protocol: modbus\n", "protocol: modbus\nextends: press\n")
    assert "extends itself: press -> press" in validate("machines/press.yaml").stderr


def test_no_file_and_a_file_that_is_not_there_are_errors(folder: Path) -> None:
    assert folder
    assert validate().exit_code == 2
    ran = validate("none.yaml")
    assert (ran.stderr, ran.exit_code) == ("none.yaml:1:1: No such file or directory\nnone.yaml: 1 problem\n", 1)


# -- strict --


@pytest.mark.parametrize(
    ("url", "warns"),
    [
        ("mqtt://broker.plant:1883", True), ("mqtt://10.0.0.9", True), ("mqtt://localhost", False),
        ("mqtt://127.0.0.5:1884", False), ("mqtt://[::1]", False), ("mqtts://broker.plant", False),
    ],
)  # fmt: skip
def test_a_broker_whose_messages_cross_the_network_as_text_is_a_warning(
    folder: Path, url: str, *, warns: bool
) -> None:
    """Anybody on the plant's network could read the password; on the box itself nobody else can."""
    assert folder
    change("factory.yaml", '{url: "mqtt://localhost"}', f'{{url: "{url}", username: u, password: {{secret: p}}}}')
    ran = validate("factory.yaml")
    assert ran.exit_code == 0
    assert ("warning: broker.url: the password and all records cross the network to" in ran.stderr) == warns
    strict = validate("factory.yaml", "--strict")
    assert strict.exit_code == int(warns)
    assert ("factory.yaml: refused: --strict allows no warnings" in strict.stderr) == warns


# -- the line of a problem --


def test_the_line_of_a_problem_is_shown_with_a_mark(folder: Path) -> None:
    """The first line is for editors, the next two for eyes."""
    assert folder
    change("factory.yaml", "id: edge-01", "id: edge 1, spoool: {}")
    first, line, mark, second, *_ = validate("factory.yaml").stderr.splitlines()
    assert first.startswith("factory.yaml:3:11: gateway.id: 'edge 1' is not a name; ")
    assert line == "  3 | gateway: {id: edge 1, spoool: {}}"
    assert mark == "    |           ^^^^^^^^^^"
    assert second.startswith("factory.yaml:3:23: gateway.spoool: unknown key 'spoool'; did you mean 'spool'?")


@pytest.mark.parametrize(
    ("text", "column", "line", "mark"),
    [
        ("区域: 硫化", 1, "区域: 硫化", "^^^^^^^^^^"),
        ("\tarea: a", 1, " area: a", "^"),
        ("a: 'x, y' # z", 1, "a: 'x, y' # z", "^^^^^^^^^"),
        ("lines:", 1, "lines:", "^^^^^"),
        ("id: edge-${N:-1} # n", 1, "id: edge-${N:-1} # n", "^^^^^^^^^^^^^^^^"),
        ("m-{1..3}: {a: b}", 1, "m-{1..3}: {a: b}", "^^^^^^^^"),
        ("Mould Temperature: {a: b}", 1, "Mould Temperature: {a: b}", "^^^^^^^^^^^^^^^^^"),
        ("  - sqlite: {path: a}", 5, "  - sqlite: {path: a}", "^^^^^^"),
        ("a: \x1b[31mred", 4, "a: \N{REPLACEMENT CHARACTER}[31mred", "^"),
        ("a: b", 40, "a: b", "^"),
    ],
)
def test_a_mark_is_below_what_it_marks(tmp_path: Path, text: str, column: int, line: str, mark: str) -> None:
    """Also below characters of two columns; what would steer a terminal is replaced."""
    file = tmp_path / "a.yaml"
    file.write_text(text, encoding="utf-8")
    shown, below = Excerpts().of(Problem(file, 1, column, "", "wrong"))
    assert shown == f"  1 | {line}".rstrip()
    assert below.strip(" |") == mark


def test_a_long_line_is_cut_around_the_mistake(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(f"{{a: {'x' * 500}, bad: 5, {'y' * 500}: 1}}", encoding="utf-8")
    shown, below = Excerpts().of(Problem(file, 1, 507, "", "wrong"))
    assert len(shown) < 130
    assert shown[below.index("^") :].startswith("bad: 5")
    assert below.count("^") == len("bad: 5")


@pytest.mark.parametrize(
    "written",
    [
        "password: hunter2", 'token: "hunter2"', "passwrd: hunter2", "passwd: hunter2", "url: mqtt://u:hunter2@h",
        "api_token: 'hunter2'", "secret: hunter2",
    ],
)  # fmt: skip
def test_the_shown_line_hides_what_may_be_a_secret(folder: Path, written: str) -> None:
    """The log of a CI job is read by many."""
    assert folder
    change("factory.yaml", '{url: "mqtt://localhost"}', f"{{keep_alive: 5, {written}, username: u}}")
    ran = validate("factory.yaml")
    assert "hunter2" not in ran.stderr
    assert "***" in ran.stderr


def test_names_of_secrets_are_shown(folder: Path) -> None:
    """The name is not secret, and helps to find the mistake."""
    assert folder
    change("factory.yaml", '"mqtt://localhost"}', '"mqtt://localhost", password: {secret: "broker 1"}}')
    assert '{secret: "broker 1"}' in validate("factory.yaml").stderr


def test_repeated_messages_and_many_problems_are_cut(folder: Path) -> None:
    """A mistake that was copied a thousand times is one mistake."""
    points = "".join(f"  p{n}: {{address: holding {n}, unit: nope}}\n" for n in range(50))
    (folder / "machines" / "press.yaml").write_text(f"format: 1\nprotocol: modbus\npoints:\n{points}", "utf-8")
    ran = validate("machines/press.yaml")
    assert ran.stderr.count("points.p") == SAME_MESSAGES
    assert "45 more: 'nope' is not a UCUM unit" in ran.stderr
    points = "".join(f"  p{n}: {{address: holding {n}, unit: nope{n}}}\n" for n in range(250))
    (folder / "machines" / "press.yaml").write_text(f"format: 1\nprotocol: modbus\npoints:\n{points}", "utf-8")
    ran = validate("machines/press.yaml")
    assert ran.stderr.count("points.p") == MOST_PROBLEMS
    assert "the first 100 of 250 problems are shown" in ran.stderr
    assert len(json.loads(validate("machines/press.yaml", "--format", "json").stdout)["problems"]) == 250


# -- formats --


def test_json_is_an_object_for_one_file_and_a_list_for_several(folder: Path) -> None:
    assert folder
    one = json.loads(validate("factory.yaml", "--format", "json").stdout)
    assert (one["file"], one["kind"], one["right"], one["machines"]) == ("factory.yaml", "factory", True, 2)
    several = json.loads(validate("machines/press.yaml", "lines/l2.yaml", "--format", "json").stdout)
    assert [(entry["kind"], entry["points"]) for entry in several] == [("template", 2), ("lines", 2)]


SARIF = {
    "type": "object",
    "required": ["version", "runs"],
    "additionalProperties": False,
    "properties": {
        "$schema": {"type": "string", "format": "uri"},
        "version": {"const": "2.1.0"},
        "runs": {"type": "array", "minItems": 1, "items": {"$ref": "#/definitions/run"}},
    },
    "definitions": {
        "message": {"type": "object", "required": ["text"], "additionalProperties": False,
                    "properties": {"text": {"type": "string", "minLength": 1}}},
        "level": {"enum": ["none", "note", "warning", "error"]},
        "rule": {
            "type": "object",
            "required": ["id"],
            "additionalProperties": False,
            "properties": {
                "id": {"type": "string"},
                "shortDescription": {"$ref": "#/definitions/message"},
                "defaultConfiguration": {"type": "object", "additionalProperties": False,
                                         "properties": {"level": {"$ref": "#/definitions/level"}}},
            },
        },
        "run": {
            "type": "object",
            "required": ["tool"],
            "additionalProperties": False,
            "properties": {
                "tool": {
                    "type": "object", "required": ["driver"], "additionalProperties": False,
                    "properties": {"driver": {
                        "type": "object", "required": ["name"], "additionalProperties": False,
                        "properties": {
                            "name": {"type": "string"}, "version": {"type": "string"},
                            "rules": {"type": "array", "uniqueItems": True, "items": {"$ref": "#/definitions/rule"}},
                        },
                    }},
                },
                "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                "results": {"type": "array", "items": {"$ref": "#/definitions/result"}},
            },
        },
        "result": {
            "type": "object",
            "required": ["message"],
            "additionalProperties": False,
            "properties": {
                "ruleId": {"type": "string"},
                "ruleIndex": {"type": "integer", "minimum": -1},
                "level": {"$ref": "#/definitions/level"},
                "message": {"$ref": "#/definitions/message"},
                "locations": {"type": "array", "items": {
                    "type": "object", "additionalProperties": False,
                    "properties": {"physicalLocation": {
                        "type": "object", "required": ["artifactLocation"], "additionalProperties": False,
                        "properties": {
                            "artifactLocation": {
                                "type": "object", "additionalProperties": False,
                                "properties": {"uri": {"type": "string", "pattern": r"^[A-Za-z0-9._~:/%-]+$"}},
                            },
                            "region": {
                                "type": "object", "additionalProperties": False,
                                "properties": {
                                    "startLine": {"type": "integer", "minimum": 1},
                                    "startColumn": {"type": "integer", "minimum": 1},
                                },
                            },
                        },
                    }},
                }},
            },
        },
    },
}  # fmt: skip
"""The part of the schema of SARIF 2.1.0 (OASIS, clause 3) for the properties that are written, and no others."""


def test_sarif_is_valid_and_names_every_problem(folder: Path) -> None:
    """Code scanning refuses a whole file for one wrong property."""
    (folder / "machines" / "größe 1.yaml").write_text(PRESS, encoding="utf-8")
    change("factory.yaml", "edge-01", "edge 1")
    change("machines/press.yaml", 'unit: "%"', "unit: C")
    ran = validate("factory.yaml", "machines/größe 1.yaml", "--format", "sarif")
    assert ran.exit_code == 1
    log = json.loads(ran.stdout)
    check_schema(SARIF)
    assert [error.message for error in errors(SARIF, log)] == []
    [run] = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    found = {}
    for result in run["results"]:
        place = result["locations"][0]["physicalLocation"]
        assert rules[result["ruleIndex"]] == result["ruleId"]
        found[place["artifactLocation"]["uri"]] = (result["level"], place["region"]["startLine"])
    assert found["factory.yaml"] == ("error", 3)
    assert found["machines/press.yaml"] == ("warning", 5)
    assert found["machines/gr%C3%B6%C3%9Fe%201.yaml"] == ("error", 1)


def test_sarif_names_files_outside_of_the_working_folder_absolutely(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative reference that leaves the folder means nothing to who reads the log elsewhere."""
    change("factory.yaml", "edge-01", "edge 1")
    (folder / "here").mkdir()
    monkeypatch.chdir(folder / "here")
    [result] = json.loads(validate("../factory.yaml", "--format", "sarif").stdout)["runs"][0]["results"]
    uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri == (folder / "factory.yaml").as_uri()


def test_sarif_without_problems_is_a_run_without_results(folder: Path) -> None:
    """Code scanning then closes the alerts of the run before."""
    assert folder
    ran = validate("factory.yaml", "--format", "sarif")
    assert (json.loads(ran.stdout)["runs"][0]["results"], ran.exit_code) == ([], 0)


def test_github_annotations_are_escaped(folder: Path) -> None:
    """A percent sign or a comma would end a property of the command."""
    (folder / "a,b.yaml").write_text(FACTORY.replace("edge-01", "100%"), encoding="utf-8")
    change("machines/press.yaml", 'unit: "%"', "unit: C")
    ran = validate("a,b.yaml", "--format", "github")
    error, warning = ran.stdout.splitlines()
    assert error.startswith("::error file=a%2Cb.yaml,line=3,col=11,title=lineside validate::gateway.id: '100%25' is")
    assert warning.startswith(
        "::warning file=machines/press.yaml,line=5,col=40,title=lineside validate::points.level"
    )
    strict = validate("a,b.yaml", "--format", "github", "--strict")
    assert all(line.startswith("::error ") for line in strict.stdout.splitlines())


# -- the hook --


def test_the_hook_of_pre_commit_checks_the_files_that_it_selects(folder: Path) -> None:
    """pre-commit calls the entry with the files of a commit that match."""
    [hook] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert {"id", "name", "entry", "language"} <= hook.keys()
    assert hook["language"] == "python"
    candidates = [
        "factory.yaml", "lines/l2.yaml", "machines/press.yaml", "compose.yaml", "docs/machines.md",
        "a/machines/b.yaml",
        "factory-south.yaml", "machines/deep/c.yaml",
    ]  # fmt: skip
    selected = [name for name in candidates if re.search(hook["files"], name)]
    assert selected == [
        "factory.yaml", "lines/l2.yaml", "machines/press.yaml", "a/machines/b.yaml", "factory-south.yaml",
    ]  # fmt: skip
    command, *arguments = hook["entry"].split()
    assert command == "lineside"
    there = [name for name in selected if (folder / name).exists()]
    ran = CliRunner().invoke(main, [*arguments, "--strict", *there])
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert len(ran.stdout.splitlines()) == 4  # three files, and a note
