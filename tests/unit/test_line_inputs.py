"""Points of other machines of the line in a configuration; the mistakes are in `cases/wrong_config/line_inputs`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from processes import write_factory

from drivers.base import ValueType
from gateway.acquisition.device_manager import DeviceManager
from gateway.settings.derivation import Derivation
from gateway.settings.line_inputs import inputs_of, tied, with_inputs
from gateway.settings.load import load_factory
from gateway.settings.problems import ConfigurationError
from gateway.settings.serialize import dump_factory, unrolled, written_machine
from gateway.settings.standalone import check_lines, check_template

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings.expressions.program import Program
    from gateway.settings.factory import Factory, Machine

POINTS: dict[str, Any] = {
    "x": {"address": "holding 0", "raw": "float32", "unit": "bar"},
    "state": {"address": "holding 4", "labels": {0: "stopped", 4: "running"}},
}


def template(folder: Path, name: str, derive: dict[str, Any], points: dict[str, Any] = POINTS, **more: Any) -> Path:
    """Write a template; derived points are given as expressions or keys."""
    (folder / "machines").mkdir(exist_ok=True)
    derived = {point: {"expression": one} if isinstance(one, str) else one for point, one in derive.items()}
    file = folder / "machines" / f"{name}.yaml"
    file.write_text(yaml.safe_dump({"format": 1, "protocol": "modbus", "points": points, "derive": derived} | more))
    return file


def config(folder: Path, machines: dict[str, dict[str, Any]], **lines: Any) -> Path:
    """Write a factory whose line `line` has these machines, of the template `plain` where they name none."""
    whole = {
        name: {"template": "plain", "connection": f"modbus+tcp://10.0.{number}.{{n}}" if "{" in name
               else f"modbus+tcp://10.0.{number}.1"} | keys
        for number, (name, keys) in enumerate(machines.items())
    }  # fmt: skip
    return write_factory(
        folder / "factory.yaml", gateway={"id": "edge-1"}, broker={"url": "mqtt://localhost"},
        lines={"line": {"area": "area", "machines": whole}} | lines,
    )  # fmt: skip


def by_name(factory: Factory) -> dict[str, Machine]:
    return {machine.path.machine: machine for machine in factory.machines}


def program(machine: Machine, point: str) -> Program:
    [source] = [one.source for one in machine.derived if one.name == point]
    assert isinstance(source, Derivation)
    return source.program


def problems(file: Path) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_factory(file)
    return [problem.message for problem in caught.value.problems]


def test_the_type_and_unit_follow_from_points_of_other_machines(tmp_path: Path) -> None:
    """Whichever machine is written first: those that wait for others are in their places afterwards."""
    template(tmp_path, "plain", {})
    derive = {
        "d": {"expression": 'line["m-03"].rise * 2.0'},
        "runs": {"expression": 'line["m-02"].state == "running"'},
    }
    rise = {"rise": {"expression": 'x - line["m-02"].x', "unit": "kPa"}}
    file = config(tmp_path, {"m-01": {"derive": derive}, "m-02": {}, "m-03": {"derive": rise}})
    factory = load_factory(file)
    assert [machine.path.machine for machine in factory.machines] == ["m-01", "m-02", "m-03"]
    d, runs = by_name(factory)["m-01"].derived
    assert (d.type, d.unit, runs.type) == (ValueType.FLOAT, "kPa", ValueType.BOOL)
    assert [one.key for one in program(by_name(factory)["m-03"], "rise").inputs] == ["x", 'line["m-02"].x']


def test_a_parameter_names_the_machine(tmp_path: Path) -> None:
    """One template serves all machines of a line, each of which follows the machine before."""
    template(
        tmp_path, "chain", {"drop": 'line["{upstream}"].x - x', "sum": 'line["{upstream}"].sum + x'},
        parameters={"upstream": None},
    )  # fmt: skip
    template(tmp_path, "plain", {"sum": "x"})
    machines = {"m-{02..20}": {"template": "chain", "parameters": {"upstream": "m-{n-1:02}"}}, "m-01": {}}
    factory = load_factory(config(tmp_path, machines))
    assert [one.path.machine for one in with_inputs([by_name(factory)["m-04"]], factory.machines)] == [
        "m-02", "m-03", "m-04", "m-01",
    ]  # fmt: skip
    assert inputs_of(by_name(factory)["m-04"])[0].machine == "m-03"
    [group] = tied(factory.machines)
    assert len(group) == 20
    assert by_name(factory)["m-01"].derived[0].unit == by_name(factory)["m-20"].derived[1].unit == "bar"


def test_a_machine_that_names_itself_means_its_own_point(tmp_path: Path) -> None:
    """So one expression with all machines of a line is right on each of them."""
    template(tmp_path, "plain", {"total": 'line["m-01"].x + line["m-02"].x'})
    factory = load_factory(config(tmp_path, {"m-{01..03}": {}}))
    keys = {name: [one.key for one in program(one, "total").inputs] for name, one in by_name(factory).items()}
    assert keys == {
        "m-01": ["x", 'line["m-02"].x'],
        "m-02": ['line["m-01"].x', "x"],
        "m-03": ['line["m-01"].x', 'line["m-02"].x'],
    }


def test_machines_with_the_same_inputs_share_their_calculations(tmp_path: Path) -> None:
    """A thousand presses that follow one oven each of their own line are compiled once."""
    template(tmp_path, "press", {"d": 'x - line["oven"].x', "e": "x * 2.0"}, parameters={"base": 0},
             points={"x": {"address": "holding {base}", "raw": "float32", "unit": "bar"}})  # fmt: skip
    template(tmp_path, "plain", {})
    presses = {"template": "press", "connection": "modbus+tcp://10.1.0.{n}"}
    oven = {"template": "plain", "connection": "modbus+tcp://10.9.0.1"}
    file = config(
        tmp_path, {"p-{01..05}": {"template": "press"}, "oven": {}},
        other={"area": "area", "machines": {"p-{01..05}": presses, "oven": oven}},
    )  # fmt: skip
    derived = {id(machine.derived) for machine in load_factory(file).machines if machine.derived}
    assert len(derived) == 1


def test_the_expanded_configuration_is_the_same_factory(tmp_path: Path) -> None:
    """Ranges and parameters are filled in, and braces that are left are doubled."""
    template(tmp_path, "plain", {})
    derive = {"d": {"expression": 'x - line["m-{n%2+1:02}"].x'}, "c": {"expression": 'convert(x, "kPa{{abs}}")'}}
    factory = load_factory(config(tmp_path, {"m-{01..02}": {"derive": derive | {"c": {"enabled": False}}}}))
    data = unrolled(factory)
    assert data["lines"]["line"]["machines"]["m-01"]["derive"]["d"] == {"expression": 'x - line["m-02"].x'}
    again = tmp_path / "again.yaml"
    again.write_text(dump_factory(data))
    assert load_factory(again).machines == factory.machines
    shown = written_machine(by_name(factory)["m-01"])["points"]["d"]
    assert (shown["expression"], shown["unit"]) == ('x - line["m-02"].x', "bar")


def test_a_removed_machine_that_is_an_input_is_an_error(tmp_path: Path) -> None:
    """The derived point that needs it is named, with its place."""
    template(tmp_path, "plain", {})
    derive = {"d": {"expression": 'x - line["m-02"].x'}}
    file = config(tmp_path, {"m-01": {"derive": derive}, "m-03": {}})
    assert problems(file) == ["unknown machine 'm-02' of the line line; did you mean 'm-03'?"]


def test_of_a_range_that_is_wrong_nothing_else_is_reported(tmp_path: Path) -> None:
    """The points of machines that are not there because of another mistake are not called unknown."""
    template(tmp_path, "plain", {})
    derive = {"d": {"expression": 'x - line["m-02"].x'}}
    file = config(tmp_path, {"a": {"derive": derive}, "m-{01..03}": {"connection": "modbus+tcp://10.0.0.1:99999"}})
    assert len(problems(file)) == 1


def test_mistakes_of_a_machine_that_is_wrong_elsewhere_are_reported_at_once(tmp_path: Path) -> None:
    """A person corrects a file in one go."""
    template(tmp_path, "plain", {})
    derive = {"d": {"expression": 'x - line["m-02"].y'}}
    machines = {"m-01": {"derive": derive, "connection": "modbus+tcp://10.0.0.1:99999"}, "m-02": {}}
    found = problems(config(tmp_path, machines))
    assert len(found) == 2
    assert found[1] == "unknown point 'y' of m-02; there are: state, x"


def test_a_wrong_point_of_another_machine_is_reported_where_it_is_written(tmp_path: Path) -> None:
    """A derived point that needs it is only said to need a point that is off or wrong."""
    template(tmp_path, "plain", {})
    broken = {"derive": {"y": {"expression": "x +"}}, "points": {"z": {"address": "holding 8", "enabled": False}}}
    derive = {"d": {"expression": 'line["m-02"].y'}, "e": {"expression": 'line["m-02"].z * 2'}}
    found = problems(config(tmp_path, {"m-01": {"derive": derive}, "m-02": broken}))
    assert found == [
        "the point y of m-02 is off or wrong; write enabled: false here, too",
        "the point z of m-02 is off or wrong; write enabled: false here, too",
        "a value is missing at the end (at character 4)",
    ]


@pytest.mark.slow
def test_a_thousand_machines_with_the_same_mistake_are_reported_soon(tmp_path: Path) -> None:
    """The first of them have a suggestion, whose search takes long in a long line."""
    template(tmp_path, "chain", {"d": 'x - line["{next}"].x'}, parameters={"next": None})
    machines = {"m-{0001..1000}": {"template": "chain", "parameters": {"next": "m-{n}"},
                                   "connection": "modbus+tcp://10.0.{n//250}.{n%250+1}"}}  # fmt: skip
    began = time.process_time()
    found = problems(config(tmp_path, machines))
    assert time.process_time() - began < 10
    assert len(found) == 999  # m-1000 is right
    assert sum("did you mean" in one for one in found) == 20


@pytest.mark.slow
def test_a_circle_over_a_thousand_machines_is_reported(tmp_path: Path) -> None:
    """It is longer than a stack of Python is deep."""
    template(tmp_path, "ring", {"sum": 'line["m-{next}"].sum + x'}, parameters={"next": None})
    machines = {"m-{0001..1500}": {"template": "ring", "parameters": {"next": "{n%1500+1:04}"},
                                   "connection": "modbus+tcp://10.0.{n//250}.{n%250+1}"}}  # fmt: skip
    [found] = problems(config(tmp_path, machines))
    assert found.startswith("is derived from itself: m-0001.sum -> m-0002.sum -> ")


def test_a_template_with_such_points_is_checked_on_its_own(tmp_path: Path) -> None:
    """Only the form of its expressions can be: which machines there are depends on the line."""
    file = template(tmp_path, "plain", {"d": 'x - line["m-02"].x', "e": "x * 2.0"})
    assert check_template(file) == ([], 0, 2, 2)
    wrong = template(tmp_path, "plain", {"d": 'x - line["m-02"].x', "e": "line[x].x"})
    [problem] = check_template(wrong).problems
    assert problem.message.startswith("write the name of a machine of the line in quotes")


def test_a_file_of_lines_is_checked_on_its_own(tmp_path: Path) -> None:
    """It has whole lines, so all machines are known."""
    template(tmp_path, "plain", {})
    machines = {"m-01": {"template": "plain", "connection": "modbus+tcp://10.0.0.1",
                         "derive": {"d": {"expression": 'line["m-02"].x'}}},
                "m-02": {"template": "plain", "connection": "modbus+tcp://10.0.0.2"}}  # fmt: skip
    file = tmp_path / "lines.yaml"
    file.write_text(yaml.safe_dump({"format": 1, "lines": {"line": {"area": "area", "machines": machines}}}))
    checked = check_lines(file)
    assert (checked.problems, checked.machines, checked.points) == ([], 2, 5)


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        ({"unit": "kPa"}, {"m-01", "m-02"}),
        ({"raw": "int16"}, {"m-01", "m-02"}),
        ({"every": "2s"}, {"m-01", "m-02"}),
        ({"address": "holding 9"}, {"m-02"}),
        ({"deadband": 0.5}, {"m-02"}),
    ],
)
def test_a_reload_rebuilds_the_machines_that_derive_from_a_changed_point(
    tmp_path: Path, change: dict[str, Any], changed: set[str]
) -> None:
    """Type, unit and period of an input matter to the others; where it is read does not."""
    template(tmp_path, "plain", {})
    derive = {"d": {"expression": 'rate(line["m-02"].x)'}}
    before = load_factory(config(tmp_path, {"m-01": {"derive": derive}, "m-02": {}, "m-03": {}}))
    after = load_factory(
        config(tmp_path, {"m-01": {"derive": derive}, "m-02": {"points": {"x": change}}, "m-03": {}})
    )
    manager = DeviceManager(lambda *_: lambda _: None, _no_worker, _no_room)
    manager.apply(manager.compare(before.machines))
    assert {path.machine for path in manager.compare(after.machines).changed} == changed


def test_the_order_of_the_machines_in_the_file_changes_nothing(tmp_path: Path) -> None:
    """The points of a machine are built when another needs them, and are in their own order all the same."""
    template(tmp_path, "plain", {})
    one = {"derive": {"a": {"expression": 'line["m-02"].last + x'}, "b": {"expression": "x * 2.0"}}}
    two = {
        "derive": {name: {"expression": f'line["m-01"].b + x * {i}.0'} for i, name in enumerate(("first", "last"))}
    }
    connections = [{"connection": f"modbus+tcp://10.1.0.{number}"} for number in (1, 2)]
    machines = {"m-01": one | connections[0], "m-02": two | connections[1]}
    before = load_factory(config(tmp_path, machines))
    after = load_factory(config(tmp_path, dict(reversed(machines.items()))))
    assert [point.name for point in by_name(after)["m-02"].derived] == ["first", "last"]
    assert by_name(after) == by_name(before)


def test_the_meaning_of_a_state_depends_on_the_machine_of_the_input(tmp_path: Path) -> None:
    """A rate of another machine's pressure is another rate; a changed period keeps the state."""
    template(tmp_path, "plain", {})

    def identity(expression: str, **change: Any) -> str:
        machines = {
            "m-01": {"derive": {"d": {"expression": expression}}},
            "m-02": {"points": {"x": change}},
            "m-03": {},
        }
        return program(by_name(load_factory(config(tmp_path, machines)))["m-01"], "d").identity

    before = identity('rate(line["m-02"].x)')
    assert identity('rate(line["m-02"].x)', every="2s") == before
    assert len({before, identity('rate(line["m-03"].x)'), identity('rate(line["m-02"].x)', unit="kPa")}) == 3


def _no_worker(*_: object) -> Any:
    class Worker:
        groups = ()

    return Worker()


async def _no_room() -> None:
    return None
