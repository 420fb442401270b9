"""The language of derived points: its grammar, its checks, and the values of its compiled code."""

from __future__ import annotations

import math
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drivers.base import ValueType
from gateway.settings.expressions.check import FUNCTIONS, check, names_of, points_of
from gateway.settings.expressions.program import Input, Program
from gateway.settings.expressions.runtime import NoValue, careful, quick
from gateway.settings.expressions.syntax import (
    MOST_CHARACTERS,
    Binary,
    Call,
    Choice,
    Listing,
    Literal,
    Name,
    Node,
    Unary,
    WrongExpression,
    parse,
)
from gateway.settings.quantities import unit

FLOAT, INT, BOOL, STRING = ValueType.FLOAT, ValueType.INT, ValueType.BOOL, ValueType.STRING
STATES = ((0, "stopped"), (4, "running"))

KNOWN = {
    name: Input(name, kind, unit(code), labels)
    for name, kind, code, labels in [
        ("pressure", FLOAT, "bar", ()), ("vacuum", FLOAT, "kPa", ()), ("mould", FLOAT, "Cel", ()),
        ("oil", FLOAT, "Cel", ()), ("hot", FLOAT, "[degF]", ()), ("energy", FLOAT, "kW.h", ()),
        ("power", FLOAT, "kW", ()),
        ("parts", INT, "{part}", ()), ("cycles", INT, "{cycle}", ()), ("word", INT, "", ()), ("n", INT, "", ()),
        ("x", FLOAT, "", ()), ("y", FLOAT, "", ()), ("open", BOOL, "", ()), ("ready", BOOL, "", ()),
        ("state", INT, "", STATES), ("mode", STRING, "", STATES), ("code", STRING, "", ()),
        ("zone-1.t", FLOAT, "Cel", ()), ("torque", FLOAT, "N.m", ()), ("speed", FLOAT, "rad/s", ()),
    ]
}  # fmt: skip
LINES = (Path(__file__).parents[1] / "cases" / "expressions" / "mistakes.txt").read_text().splitlines()
MISTAKES = [(text, message.strip()) for text, message in zip(LINES[::2], LINES[1::2], strict=True)]

TABLES = {"tank": ((0.0, 0.0), (10.0, 250.0), (20.0, 400.0))}


def checked(text: str) -> Program:
    return check(text, KNOWN, TABLES)


def value(text: str, **inputs: Any) -> Any:
    """Evaluate an expression without state; a point that is not given is missing."""
    program = checked(text)
    assert not program.steps
    values = [inputs.get(one.name) for one in program.inputs]
    places = {place: place for place in range(len(values))}
    if None not in values:
        try:
            return quick(program.result, places)(values)
        except (ArithmeticError, ValueError):
            pass
    return careful(program.result, places)(values)


@pytest.mark.parametrize(
    ("text", "inputs", "expected"),
    [
        ("x + y * 2.0", {"x": 1.0, "y": 3.0}, 7.0),
        ("(x + y) * 2", {"x": 1.0, "y": 3.0}, 8.0),
        ("x - y - 1", {"x": 10.0, "y": 3.0}, 6.0),
        ("-x", {"x": 2.5}, -2.5),
        ("n / 2", {"n": 7}, 3.5),  # a float, unlike CEL
        ("n % 3", {"n": -7}, -1),  # truncated, as in CEL
        ("n % -3", {"n": 7}, 1),
        ("x > 1.0 && y < 2 || open", {"x": 0.5, "y": 1.0, "open": True}, True),
        ("!open", {"open": False}, True),
        ("x > y ? x : y", {"x": 1.0, "y": 2.0}, 2.0),
        ("open ? 1 : 2.5", {"open": True}, 1.0),
        ("x > 1 ? 1 : x > 0 ? 2 : 3", {"x": 0.5}, 2),
        ("state == 'running'", {"state": 4}, True),
        ('state != "running"', {"state": 0}, True),
        ("'stopped' == state", {"state": 0}, True),
        ("mode == 'running'", {"mode": "running"}, True),
        ("state in ['running', 'stopped']", {"state": 3}, False),
        ("n in [1, 2, 3]", {"n": 3}, True),
        ("int(x) in [1, 2]", {"x": 2.9}, True),
        ("code == 'A' + 'B'", {"code": "AB"}, True),
        ("code.startsWith('A') && code.endsWith('9') && code.contains('-')", {"code": "A-9"}, True),
        ("size(code)", {"code": "abc"}, 3),
        ("string(n) + ':' + string(x) + ':' + string(open)", {"n": 3, "x": 0.5, "open": True}, "3:0.5:true"),
        ("abs(x)", {"x": -2.0}, 2.0),
        ("min(x, 1, n)", {"x": 0.5, "n": 3}, 0.5),
        ("max(n, 1)", {"n": 0}, 1),
        ("mean(x, y, 3)", {"x": 1.0, "y": 2.0}, 2.0),
        ("round(x)", {"x": 2.5}, 3),  # half away from zero, as in CEL
        ("round(x)", {"x": -2.5}, -3),
        ("round(x, 2)", {"x": 1.237}, 1.24),
        ("floor(x)", {"x": -1.5}, -2),
        ("ceil(x)", {"x": -1.5}, -1),
        ("int(x)", {"x": -1.5}, -1),
        ("double(n)", {"n": 2}, 2.0),
        ("sqrt(x)", {"x": 9.0}, 3.0),
        ("pow(x, 2)", {"x": 3.0}, 9.0),
        ("bit(word, 3)", {"word": 0b1000}, True),
        ("bit(word, 2)", {"word": 0b1000}, False),
        ("bits(word, 4, 8)", {"word": 0xABC}, 0xAB),
        ("bits(word, 0, 4)", {"word": -1}, 15),
        ("lookup(x, tank)", {"x": 5.0}, 125.0),
        ("lookup(x, tank)", {"x": 20.0}, 400.0),
        ("lookup(x, tank)", {"x": 0.0}, 0.0),
        ('convert(mould, "[degF]")', {"mould": 100.0}, 212.0),
        ('convert(pressure, "kPa") + vacuum', {"pressure": 1.0, "vacuum": 20.0}, 120.0),
        ("0x10 + n", {"n": 1}, 17),
        ("x == 1e3", {"x": 1000.0}, True),
        ("`zone-1.t` > 5.0", {"zone-1.t": 6.0}, True),
        ("x > 1.0 // a comment", {"x": 2.0}, True),
        # a missing value or an error is absorbed where the other side decides: CEL, "Logical operators"
        ("has(x) ? x : 0", {}, 0.0),
        ("has(x) && x > 1.0", {}, False),
        ("open && x > 1.0", {"open": False}, False),
        ("x > 1.0 && open", {"open": False}, False),
        ("x > 1.0 || open", {"open": True}, True),
        ("x / y > 1.0 || open", {"x": 1.0, "y": 0.0, "open": True}, True),
        ("y == 0 || x / y > 1", {"x": 1.0, "y": 0.0}, True),
        ("open ? x : y", {"open": True, "x": 1.0}, 1.0),
    ],
)  # fmt: skip
def test_expressions_have_the_values_of_their_definition(text: str, inputs: dict[str, Any], expected: Any) -> None:
    """The type is that of the definition, too: a point's type never changes."""
    found = value(text, **inputs)
    assert found == pytest.approx(expected) if isinstance(expected, float) else found == expected
    kinds = {FLOAT: float, INT: int, BOOL: bool, STRING: str}
    assert type(found) is kinds[checked(text).type]


@pytest.mark.parametrize(
    ("text", "inputs", "error"),
    [
        ("x / y", {"x": 1.0, "y": 0.0}, ZeroDivisionError),
        ("n % (n - n)", {"n": 1}, ZeroDivisionError),
        ("sqrt(x)", {"x": -1.0}, ValueError),
        ("pow(x, 1000)", {"x": 1e10}, OverflowError),
        ("lookup(x, tank)", {"x": 20.5}, ValueError),
        ("round(x)", {"x": math.inf}, OverflowError),
        ("x + y", {"x": 1.0}, NoValue),
        ("open && x > 1.0", {"open": True}, NoValue),
        ("open || x > 1.0", {"open": False}, NoValue),
        ("open ? x : y", {"open": False, "x": 1.0}, NoValue),
    ],
)
def test_an_expression_without_a_value_raises(text: str, inputs: dict[str, Any], error: type[Exception]) -> None:
    """Nothing is invented: the reading is then bad."""
    with pytest.raises(error):
        value(text, **inputs)


@pytest.mark.parametrize(
    ("text", "kind", "code"),
    [
        ("rate(pressure)", FLOAT, "bar/s"),
        ("rate(mould)", FLOAT, "K/s"),
        ("difference(parts)", INT, "{part}"),
        ("difference(mould)", FLOAT, "K"),
        ("difference(energy) / max(difference(parts), 1)", FLOAT, "kW.h/{part}"),
        ("total(parts, 65536)", INT, "{part}"),
        ("integral(power)", FLOAT, "kW.s"),
        ("time_in(open)", FLOAT, "s"),
        ("edges(pressure > 2.0)", INT, ""),
        ("mean_over(n, 60s)", FLOAT, ""),
        ("max_over(n, 1.5m)", INT, ""),
        ("filtered(pressure, 500ms)", FLOAT, "bar"),
        ("previous(state) == 'running'", BOOL, ""),
        ("mould - oil", FLOAT, "K"),
        ("mould + (oil - mould)", FLOAT, "Cel"),
        ("mould - 5", FLOAT, "Cel"),
        ("mean(mould, oil)", FLOAT, "Cel"),
        ("min(mould, 100)", FLOAT, "Cel"),
        ("pressure / pressure", FLOAT, ""),
        ("pressure * 2", FLOAT, "bar"),
        ("1 / pressure", FLOAT, "/bar"),
        ("energy / (power * 2)", FLOAT, "kW.h/kW"),
        ("pow(pressure, 2)", FLOAT, "bar2"),
        ("rate(filtered(pressure, 5s))", FLOAT, "bar/s"),
    ],
)
def test_results_have_the_type_and_unit_that_follow(text: str, kind: ValueType, code: str) -> None:
    """Multiplication and division make units; a difference of temperatures is in K."""
    program = checked(text)
    assert program.type is kind
    assert program.unit is not None
    assert program.unit.text == code


@pytest.mark.parametrize(("text", "message"), MISTAKES, ids=[text for text, _ in MISTAKES])
def test_a_mistake_is_explained(text: str, message: str) -> None:
    """Each message says what would be right, and the place."""
    with pytest.raises(WrongExpression) as caught:
        checked(text)
    assert caught.value.message == message
    assert 0 <= caught.value.at <= len(text)


def test_each_function_is_documented_as_it_is_checked() -> None:
    """The form in a message is an example that is right."""
    known = {"counter": "parts", "condition": "open", "text": "code", "table": "tank"}
    for function in FUNCTIONS.values():
        for form in function.form.split(" or "):
            number = "pressure" if "convert" in form else "x"
            text = re.sub(r"\b[a-z]+\b(?![(a-z\"])", lambda found: known.get(found[0], found[0]), form)
            checked(re.sub(r"\bx\b", number, text))


def test_each_function_is_in_the_document() -> None:
    """The page is the reference of the language."""
    page = (Path(__file__).parents[2] / "docs" / "derived-points.md").read_text(encoding="utf-8")
    assert [name for name in FUNCTIONS if f"`{name}(" not in page and f".{name}(" not in page] == []


# -- generated expressions, against a second evaluator --

numbers = st.one_of(
    st.sampled_from(["x", "y", "n", "word", "1", "0", "2.5", "3", "0.0"]),
    st.integers(0, 1000).map(str),
    st.floats(0, 1e6, allow_nan=False).map(repr),
)
conditions = st.sampled_from(["open", "ready", "true", "false", "has(x)", "has(n)"])


def _numbers(inner: st.SearchStrategy[str], tests: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda one: f"({one[0]} {one[1]} {one[2]})"),
        st.tuples(tests, inner, inner).map(lambda one: f"({one[0]} ? {one[1]} : {one[2]})"),
        st.tuples(st.sampled_from(["min", "max", "mean"]), inner, inner).map(
            lambda one: f"{one[0]}({one[1]}, {one[2]})"
        ),
        st.tuples(st.sampled_from(["abs", "floor", "round", "sqrt", "-"]), inner).map(
            lambda one: f"{one[0]}({one[1]})"
        ),
    )


def _tests(inner: st.SearchStrategy[str], compared: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    signs = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
    return st.one_of(
        st.tuples(compared, signs, compared).map(lambda one: f"({one[0]} {one[1]} {one[2]})"),
        st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(lambda one: f"({one[0]} {one[1]} {one[2]})"),
        inner.map(lambda one: f"!({one})"),
    )


leaves_of_tests = st.recursive(conditions, lambda inner: _tests(inner, numbers), max_leaves=6)
number_texts = st.recursive(numbers, lambda inner: _numbers(inner, leaves_of_tests), max_leaves=10)
test_texts = st.recursive(conditions, lambda inner: _tests(inner, number_texts), max_leaves=8)


class Failure(Exception):
    """The second evaluator has no value."""


def reference(node: Node, inputs: dict[str, Any]) -> Any:
    """Evaluate a tree by its definition, without types: an error or missing value is a `Failure`."""
    match node:
        case Name() | Literal():
            found = node.value if isinstance(node, Literal) else inputs.get(node.name)
            if found is None:
                raise Failure
        case Unary(sign=sign, operand=operand):
            inner = reference(operand, inputs)
            found = not inner if sign == "!" else -inner
        case Binary(sign="&&" | "||" as sign, left=left, right=right):
            found = _logical(sign, left, right, inputs)
        case Binary(sign=sign, left=left, right=right):
            found = _binary(sign, reference(left, inputs), reference(right, inputs))
        case Choice(condition=condition, then=then, other=other):
            found = reference(then if reference(condition, inputs) else other, inputs)
        case Call(name="has", arguments=(Name(name=name),)):
            found = inputs.get(name) is not None
        case _:
            assert isinstance(node, Call)
            found = _function(node.name, [reference(one, inputs) for one in node.arguments])
    return found


def _logical(sign: str, left: Node, right: Node, inputs: dict[str, Any]) -> bool:
    decides = sign == "||"
    sides: list[bool | None] = []
    for side in (left, right):
        try:
            sides.append(reference(side, inputs))
        except Failure:
            sides.append(None)
    if decides in sides:
        return decides
    if None in sides:
        raise Failure
    return not decides


def _binary(sign: str, left: Any, right: Any) -> Any:
    table = {
        "+": lambda: left + right, "-": lambda: left - right, "*": lambda: left * right,
        "/": lambda: left / right, "<": lambda: left < right, "<=": lambda: left <= right, ">": lambda: left > right,
        ">=": lambda: left >= right, "==": lambda: left == right, "!=": lambda: left != right,
    }  # fmt: skip
    try:
        return table[sign]()
    except ArithmeticError:
        raise Failure from None


def _function(name: str, given: list[Any]) -> Any:
    try:
        match name:
            case "min" | "max":
                return {"min": min, "max": max}[name](given)
            case "mean":
                return math.fsum(given) / len(given)
            case "abs":
                return abs(given[0])
            case "floor":
                return math.floor(given[0])
            case "sqrt":
                return math.sqrt(given[0])
            case "round":
                whole = math.floor(abs(given[0]) + 0.5) if abs(given[0]) < 2**52 else abs(given[0])
                if abs(given[0]) + 0.5 == whole and abs(given[0]) < 0.5:
                    whole = 0  # 0.49999999999999994 + 0.5 is 1 in binary
                return int(math.copysign(whole, given[0]))
    except (ArithmeticError, ValueError):
        raise Failure from None
    raise AssertionError(name)


inputs_of = st.fixed_dictionaries({
    "x": st.none() | st.floats(-1e6, 1e6), "y": st.none() | st.floats(-10, 10), "n": st.none() | st.integers(-9, 9),
    "word": st.integers(0, 65535), "open": st.none() | st.booleans(), "ready": st.booleans(),
})  # fmt: skip


@given(number_texts | test_texts, inputs_of)
@example("(x / y > 1.0) || open", {"x": 1.0, "y": 0.0, "n": 0, "word": 0, "open": True, "ready": True})
@example("round(x)", {"x": 0.49999999999999994, "y": 0.0, "n": 0, "word": 0, "open": True, "ready": True})
def test_compiled_code_agrees_with_a_second_evaluator(text: str, inputs: dict[str, Any]) -> None:
    """Both give the same value, or both have none."""
    try:
        if not points_of(text):
            return
        program = checked(text)
    except WrongExpression as error:
        assert error.message.startswith(("divides by 0", "has more than"))  # noqa: PT017 - the only mistakes here
        return
    try:
        expected = reference(parse(text), inputs)
    except Failure:
        with pytest.raises((NoValue, ArithmeticError, ValueError)):
            value(text, **inputs)
        return
    found = value(text, **inputs)
    if isinstance(expected, float) and math.isnan(expected):
        assert math.isnan(found)
    else:
        assert found == pytest.approx(expected, rel=1e-12)
    if program.type is not INT or abs(expected) < 2**63:
        assert type(found) is {FLOAT: float, INT: int, BOOL: bool}[program.type]


# -- points of other machines of the line --


def test_a_point_of_another_machine_is_another_input() -> None:
    """Its name may be written in all ways in which names and texts are."""
    text = """line["m-1"].x + x + line['m-1'].`x` + line [ "m-2" ] . x + line["own"].x + line["m-1"].zone.t"""
    assert [(one.machine, one.name) for one in names_of(text, "own")] == [
        ("m-1", "x"), ("", "x"), ("m-2", "x"), ("m-1", "zone.t"),
    ]  # fmt: skip


def test_a_point_may_have_the_name_line() -> None:
    """The map is a map alone where a machine follows."""
    assert [one.key for one in names_of('line + `line` + line["line"].line')] == ["line", 'line["line"].line']


def test_functions_take_points_of_other_machines() -> None:
    """They have types, units and labels as points of the machine have."""
    known = [Input("t", STRING, unit(""), machine="m"), Input("s", INT, unit(""), ((4, "running"),), machine="m")]
    text = 'line["m"].t.startsWith("A") && line["m"].s in ["running"] && has(line["m"].s)'
    assert check(text, {one.key: one for one in known}, {}).type is BOOL


# -- the parser, with anything --

PIECES = ["x", "y", "n", "open", "1", "2.5", "60s", "'a'", "`p`", *"()[],.?:<+-*/%!'\\\" \n", "&&", "||", "==", "in",
          "rate", "max", "has", "//", "line", 'line["m"].x', 'line["m"].']  # fmt: skip


@given(st.text(max_size=300) | st.lists(st.sampled_from(PIECES), max_size=200).map(" ".join))
def test_any_text_is_an_expression_or_a_mistake(text: str) -> None:
    """Nothing else is raised, however strange the text is."""
    try:
        names = names_of(text, "own")
        known = {one.key: Input(one.name, FLOAT, unit(""), machine=one.machine) for one in names}
        check(text, known, TABLES, "own")
    except WrongExpression:
        pass


@pytest.mark.parametrize(
    "text",
    [
        "(" * MOST_CHARACTERS, "-" * MOST_CHARACTERS, "!" * 1999 + "x", "x" + "+x" * 999, "x?" * 900, "[" * 1999,
        "max(" * 499, "x" * MOST_CHARACTERS, "'" + "\\" * 1999, "1" * 2000, "x " * 999, "x" + " ? x : x" * 240,
        "x" + " in [x" * 300, "x" + ".a" * 900, " " * 2000, "x" * 10_000_000,
    ],
)  # fmt: skip
def test_the_time_to_read_any_text_is_bounded(text: str) -> None:
    """Length, depth and nodes are limited: a text of the longest length is read in milliseconds."""
    began = time.process_time()
    try:
        names = points_of(text)
        check(text, {name: Input(name, FLOAT, unit("")) for name in names}, TABLES)
    except WrongExpression:
        pass
    assert time.process_time() - began < 2.0


def test_code_has_no_name_of_python() -> None:
    """A compiled expression can reach its values and the functions of the language, and nothing else."""
    program = check("__import__", {"__import__": Input("__import__", FLOAT, unit(""))}, {})
    assert quick(program.result, {0: 0})([1.5]) == 1.5
    for text in ("eval(x)", "__import__('os')", "x.__class__", "open.format(x)", "(1).real"):
        with pytest.raises((WrongExpression, KeyError)):
            checked(text)


@pytest.mark.slow
def test_the_longest_expression_is_compiled() -> None:
    """A tree at the limits has no more levels than Python's own compiler allows."""
    for text in ("x" + "+x" * 149, "(" * 38 + "x" + ")" * 38, "!" * 40 + "open", "open" + " && open" * 140):
        program = checked(text)
        places = {0: 0}
        inputs = [True] if "open" in text else [1.0]
        assert quick(program.result, places)(inputs) == careful(program.result, places)(inputs)


def test_a_list_is_only_the_right_side_of_in() -> None:
    """It is not a type of values."""
    assert isinstance(parse("[1, 2]"), Listing)
