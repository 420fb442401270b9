"""An import into a factory that is there adds machines, and changes nothing that it does not name."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.cli import main
from gateway.importers.yaml_text import YamlText
from gateway.settings.document import read_text
from gateway.settings.load import load_factory

if TYPE_CHECKING:
    from pathlib import Path

PLANT = """\
# Plant north, cell 4
format: 1
factory: {enterprise: acme, site: north}
gateway: {id: edge-01}   # the box in the cabinet
broker: {url: "mqtt://localhost:1883"}
lines:
  curing-1:              # first line
    area: curing
    machines:
      # the oldest press
      press-01: {template: press, connection: "modbus+tcp://10.0.0.1?unit=1"}   # slot 1
      press-02:
        template: press
        connection:
          url: "modbus+tcp://10.0.0.2"
          unit: 2        # second

  # the building line
  building:
    area: building
    machines: {drum: {template: press, connection: "modbus+tcp://10.0.0.9"}}
# the end
"""
PRESS = "format: 1\nprotocol: modbus\npoints:\n  pressure: {address: holding 1, unit: bar}   # inside\n"
HEAD = "machine,line,area,template,connection,point,address,unit\n"


@pytest.fixture
def plant(tmp_path: Path) -> Path:
    (tmp_path / "plant" / "machines").mkdir(parents=True)
    (tmp_path / "plant" / "machines" / "press.yaml").write_text(PRESS, encoding="utf-8")
    file = tmp_path / "plant" / "factory.yaml"
    file.write_text(PLANT, encoding="utf-8")
    return file


def imported(plant: Path, rows: str, *options: str) -> Result:
    file = plant.parent.parent / "points.csv"
    file.write_text(HEAD + rows, encoding="utf-8")
    return CliRunner().invoke(main, ["import", str(file), "--into", str(plant), *options])


def files(plant: Path) -> dict[str, str]:
    folder = plant.parent
    return {
        str(file.relative_to(folder)): file.read_text(encoding="utf-8")
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_machines_are_added_and_all_other_text_stays(plant: Path) -> None:
    """A person has written comments there, and an order that means something."""
    ran = imported(
        plant,
        "press-01,curing-1,curing,press,modbus+tcp://10.0.0.1?unit=1,pressure,holding 1,bar\n"
        "press-03,curing-1,curing,press,modbus+tcp://10.0.0.3,pressure,holding 1,bar\n"
        "press-04,curing-1,curing,other,modbus+tcp://10.0.0.4,temperature,holding 2,Cel\n"
        "drum-2,building,building,press,modbus+tcp://10.0.0.10,pressure,holding 1,bar\n"
        "mixer,mixing,prep,mixer,modbus+tcp://10.0.0.11,level,holding 3,%\n"
        "mixer-2,mixing,prep,mixer,modbus+tcp://10.0.0.12,level,holding 3,%\n",
    )
    assert ran.exit_code == 0, ran.output
    assert "5 machines added, 1 machine unchanged; now 8 machines, 8 points" in ran.stdout
    before, after = PLANT.splitlines(), plant.read_text(encoding="utf-8").splitlines()
    drum = '    machines: {drum: {template: press, connection: "modbus+tcp://10.0.0.9"}'
    assert [line for line in after if line not in before] == [
        "      press-03: {template: press, connection: 'modbus+tcp://10.0.0.3'}",
        "      press-04: {template: other, connection: 'modbus+tcp://10.0.0.4'}",
        f"{drum}, drum-2: {{template: press, connection: 'modbus+tcp://10.0.0.10'}}}}",
        "  mixing:",
        "    area: prep",
        "      mixer: {template: mixer, connection: 'modbus+tcp://10.0.0.11'}",
        "      mixer-2: {template: mixer, connection: 'modbus+tcp://10.0.0.12'}",
    ]
    assert [line for line in before if line not in after] == [f"{drum}}}"]
    assert {machine.path.machine: machine.template for machine in load_factory(plant).machines} == {
        "press-01": "press", "press-02": "press", "press-03": "press", "press-04": "other", "drum": "press",
        "drum-2": "press", "mixer": "mixer", "mixer-2": "mixer",
    }  # fmt: skip


def test_a_second_import_of_the_same_file_changes_nothing(plant: Path) -> None:
    """An import can be repeated after a mistake somewhere else."""
    rows = "press-03,curing-1,curing,press,modbus+tcp://10.0.0.3,pressure,holding 1,bar\n"
    assert imported(plant, rows).exit_code == 0
    before = files(plant)
    ran = imported(plant, rows)
    assert (ran.exit_code, "1 machine unchanged" in ran.stdout, files(plant)) == (0, True, before)


CONFLICTS = (
    "press-01,curing-1,curing,press,modbus+tcp://10.0.0.1?unit=1,pressure,holding 7,bar\n"
    "press-02,curing-1,curing,press,modbus+tcp://10.0.0.2?unit=3,pressure,holding 7,bar\n"
    "press-02,curing-1,curing,press,modbus+tcp://10.0.0.2?unit=3,force,holding 8,kN\n"
    "press-05,curing-1,curing,press,modbus+tcp://10.0.0.5,pressure,holding 1,bar\n"
)


def test_conflicts_are_listed_and_nothing_is_written(plant: Path) -> None:
    """Also the machine without a conflict: half of an import is worse than none."""
    before = files(plant)
    ran = imported(plant, CONFLICTS)
    assert (ran.exit_code, files(plant)) == (1, before)
    listed = [line.partition("conflict: ")[2] for line in ran.stderr.splitlines() if "conflict: " in line]
    assert listed == [
        "curing-1/press-01 is there: its point pressure differs",
        "curing-1/press-02 is there: it has no point force, its point pressure differs, its connection differs",
    ]
    assert "2 conflicts; nothing is written. --replace" in ran.stderr


def test_a_template_of_the_same_name_with_other_points_is_a_conflict(plant: Path) -> None:
    """Machines that are there would get the points of others."""
    before = files(plant)
    rows = "press-09,curing-1,curing,press,modbus+tcp://10.0.0.9,force,holding 8,kN\n"
    ran = imported(plant, rows)
    assert (ran.exit_code, files(plant)) == (1, before)
    assert "template press is there with other points, for drum, press-01, press-02" in ran.stderr
    assert imported(plant, rows, "--keep").exit_code == 0
    machines = {machine.path.machine: machine.template for machine in load_factory(plant).machines}
    assert (machines["press-01"], machines["press-09"]) == ("press", "press-2")


def test_keep_leaves_what_is_there(plant: Path) -> None:
    """A machine may have been corrected by hand since."""
    ran = imported(plant, CONFLICTS, "--keep")
    assert (ran.exit_code, "1 machine added, 2 machines kept" in ran.stdout) == (0, True), ran.output
    factory = load_factory(plant)
    assert {str(machine.points[0].source.written()["address"]) for machine in factory.machines} == {"holding 1"}


def test_replace_writes_the_new_over_the_old_and_leaves_other_machines(plant: Path) -> None:
    """A template that a machine outside of the import uses stays, and the new template has another name."""
    ran = imported(plant, CONFLICTS, "--replace")
    assert (ran.exit_code, "1 machine added, 2 machines replaced" in ran.stdout) == (0, True), ran.output
    text = plant.read_text(encoding="utf-8")
    assert "'modbus+tcp://10.0.0.1?unit=1'}   # slot 1\n" in text
    points = {
        machine.path.machine: {point.name: str(point.source.written()["address"]) for point in machine.points}
        for machine in load_factory(plant).machines
    }
    assert points == {
        "press-01": {"pressure": "holding 7"}, "press-02": {"pressure": "holding 7", "force": "holding 8"},
        "press-05": {"pressure": "holding 1"}, "drum": {"pressure": "holding 1"},
    }  # fmt: skip
    assert (plant.parent / "machines" / "press.yaml").read_text(encoding="utf-8") == PRESS


def test_a_template_that_only_replaced_machines_use_is_written_over(plant: Path) -> None:
    """Otherwise each import would leave a template that nothing uses."""
    rows = "drum,building,building,press,modbus+tcp://10.0.0.9,pressure,holding 2,bar\n"
    plant.write_text(
        PLANT.partition("  curing-1:")[0] + "  building:" + PLANT.partition("  building:")[2], encoding="utf-8"
    )
    ran = imported(plant, rows, "--replace")
    assert ran.exit_code == 0, ran.output
    assert set(files(plant)) == {"factory.yaml", "machines/press.yaml"}
    [machine] = load_factory(plant).machines
    assert str(machine.points[0].source.written()["address"]) == "holding 2"


def test_a_machine_of_a_range_can_not_be_replaced_alone(plant: Path) -> None:
    """Its key stands for others, too."""
    text = PLANT.replace("press-01: {template: press", '"press-{01..01}": {template: press')
    plant.write_text(text, encoding="utf-8")
    ran = imported(plant, CONFLICTS, "--replace")
    assert (ran.exit_code, plant.read_text(encoding="utf-8")) == (1, text)
    assert "curing-1/press-01 is one of the range press-{01..01}" in ran.stderr


def test_lines_of_an_included_file_grow_there(plant: Path) -> None:
    """A line is in one file."""
    main_text = "".join(PLANT.partition("lines:")[:1]) + "include: [more/*.yaml]\n"
    plant.write_text(main_text, encoding="utf-8")
    (plant.parent / "more").mkdir()
    lines = "format: 1\nlines:" + PLANT.partition("lines:")[2]
    (plant.parent / "more" / "a.yaml").write_text(lines, encoding="utf-8")
    rows = "press-03,curing-1,curing,press,modbus+tcp://10.0.0.3,pressure,holding 1,bar\n"
    new_line = "mixer,mixing,prep,mixer,modbus+tcp://10.0.0.11,level,holding 3,%\n"
    ran = imported(plant, rows + new_line)
    assert ran.exit_code == 0, ran.output
    assert "press-03: {template: press" in (plant.parent / "more" / "a.yaml").read_text(encoding="utf-8")
    assert plant.read_text(encoding="utf-8") == (
        f"{main_text}lines:\n  mixing:\n    area: prep\n    machines:\n"
        "      mixer: {template: mixer, connection: 'modbus+tcp://10.0.0.11'}\n"
    )


def test_templates_in_another_folder_are_found_and_written_there(tmp_path: Path, plant: Path) -> None:
    """One folder of templates may serve many plants."""
    (plant.parent / "machines").rename(tmp_path / "types")
    plant.write_text(PLANT.replace("lines:", "templates: ../types\nlines:"), encoding="utf-8")
    rows = "mixer,mixing,prep,mixer,modbus+tcp://10.0.0.11,level,holding 3,%\n"
    ran = imported(plant, rows)
    assert ran.exit_code == 0, ran.output
    assert sorted(file.name for file in (tmp_path / "types").iterdir()) == ["mixer.yaml", "press.yaml"]
    assert load_factory(plant).machines[-1].template == "mixer"


def test_a_bundled_template_is_never_hidden(plant: Path) -> None:
    """A file of the same name in the factory's folder would change machines that use the bundled template."""
    rows = "curer,mixing,prep,curing-press,modbus+tcp://10.0.0.11,level,holding 3,%\n"
    assert imported(plant, rows).exit_code == 0
    assert load_factory(plant).machines[-1].template == "curing-press-2"


def test_a_line_keeps_its_area(plant: Path) -> None:
    """A line is in one area; a note says that the import has another, unless it has none."""
    ran = imported(plant, "press-03,curing-1,hall-2,press,modbus+tcp://10.0.0.3,pressure,holding 1,bar\n")
    assert ran.exit_code == 0
    assert ran.stderr == f"{plant}: line curing-1: is in the area curing there, not in hall-2\n"
    ran = imported(plant, "press-04,curing-1,,press,modbus+tcp://10.0.0.4,pressure,holding 1,bar\n")
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert {machine.path.area for machine in load_factory(plant).machines} == {"curing", "building"}


def test_a_line_that_is_written_once_for_two_can_not_grow(plant: Path) -> None:
    """An alias would add the machine to both."""
    head, _, tail = PLANT.partition("  building:")
    text = head.replace("curing-1:  ", "curing-1: &l") + "  curing-2: *l\n" + "  building:" + tail
    plant.write_text(text, encoding="utf-8")
    ran = imported(plant, "press-03,curing-2,curing,press,modbus+tcp://10.0.0.3,pressure,holding 1,bar\n")
    assert (ran.exit_code, plant.read_text(encoding="utf-8")) == (1, text), ran.output
    assert "the machine curing-1/press-03 would be added, and it is not in the import" in ran.stderr
    assert set(files(plant)) == {"factory.yaml", "machines/press.yaml"}


def test_line_ends_mark_and_mode_of_the_file_stay(plant: Path) -> None:
    """A file that was written on Windows is still one of Windows afterwards."""
    plant.write_bytes(b"\xef\xbb\xbf" + PLANT.replace("\n", "\r\n").encode())
    plant.chmod(0o640)
    rows = "press-03,curing-1,curing,press,modbus+tcp://10.0.0.3,pressure,holding 1,bar\n"
    assert imported(plant, rows).exit_code == 0
    content = plant.read_bytes()
    assert content.startswith(b"\xef\xbb\xbf#")
    assert content.count(b"\n") == content.count(b"\r\n") == PLANT.count("\n") + 1
    assert stat.S_IMODE(plant.stat().st_mode) == 0o640


def test_a_factory_that_is_not_valid_is_left_alone(plant: Path) -> None:
    """Its problems are printed as by validate."""
    text = PLANT.replace("area: curing", "area: curing\n    colour: red")
    plant.write_text(text, encoding="utf-8")
    ran = imported(plant, CONFLICTS)
    assert (ran.exit_code, plant.read_text(encoding="utf-8")) == (1, text)
    assert "unknown key 'colour'" in ran.stderr
    assert "factory.yaml is not valid, or would not be; nothing is written" in ran.stderr


def test_a_folder_that_can_not_be_written_is_reported(plant: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a line, without a trace."""

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(plant))

    monkeypatch.setattr("gateway.importers.merge.replace_file", refused)
    ran = imported(plant, "m,l,a,t,modbus+tcp://10.0.0.3,p,holding 1,bar\n")
    assert (ran.exit_code, ran.stderr.splitlines()[-1]) == (1, f"Error: {plant}: Permission denied")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "x"], "write --out FOLDER for a new factory, or --into FACTORY"),
        (["--replace", "--keep"], "write --replace or --keep, not both"),
        (["--site", "south"], "--site is for a new factory"),
        (["--force"], "--force is for a new factory"),
    ],
)
def test_options_that_do_not_go_together_are_refused(plant: Path, options: list[str], message: str) -> None:
    """With exit code 2, before anything is read."""
    ran = imported(plant, CONFLICTS, *options)
    assert (ran.exit_code, message in ran.stderr) == (2, True), ran.stderr


_KEYS = st.from_regex(r"[a-z][a-z0-9]{0,4}", fullmatch=True)
_SCALARS = st.sampled_from(["1", "x", "'a: b'", '"#"', "{a: 1}", "[1, 2]", "{}", "~", "a b"])
_COMMENTS = st.sampled_from(["", "   # note", " "])


@st.composite
def _mappings(draw: st.DrawFn) -> tuple[str, dict[str, object]]:
    """Draw a mapping as text, with comments and blank lines, and its data."""
    column = draw(st.integers(0, 4)) * " "
    lines, data = [], {}
    for key in draw(st.lists(_KEYS, min_size=1, max_size=5, unique=True)):
        value = draw(_SCALARS)
        block = draw(st.booleans())
        lines += draw(st.lists(st.sampled_from(["", "  # above"]), max_size=2))
        lines.append(f"{column}{key}:{draw(_COMMENTS)}\n{column}  inner: {value}{draw(_COMMENTS)}" if block
                     else f"{column}{key}: {value}{draw(_COMMENTS)}")  # fmt: skip
        data[key] = {"inner": read_text(value)} if block else read_text(value)
    return "\n".join(lines) + draw(st.sampled_from(["", "\n", "\n\n# end\n"])), data


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mapping=_mappings(), keys=st.lists(_KEYS, min_size=1, max_size=3, unique=True))
def test_keys_are_added_to_any_mapping_and_nothing_else_changes(
    tmp_path: Path, mapping: tuple[str, dict[str, object]], keys: list[str]
) -> None:
    """As text and as data."""
    text, data = mapping
    new = [key for key in keys if key not in data]
    whole = YamlText(tmp_path / "f.yaml", text)
    for key in new:
        whole.add((), key, {"area": "a", "machines": {"m": "{template: t}"}})
    added = {"area": "a", "machines": {"m": {"template": "t"}}}
    assert read_text(whole.text) == data | dict.fromkeys(new, added)
    kept = [line for line in whole.text.splitlines() if line in text.splitlines()]
    assert kept == [line for line in text.splitlines() if line in kept]
    assert set(text.splitlines()) <= set(whole.text.splitlines())
