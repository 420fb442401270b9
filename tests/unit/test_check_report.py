"""A check's report: as JUnit XML that every CI reads, as text for terminals of any width, and as JSON."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import click
import orjson
import pytest

from drivers.base import Quality
from gateway.check.junit import junit
from gateway.check.results import Checked, CheckedMachine, Report, doubt, wrong
from gateway.check.text import lines
from gateway.model.path import MachinePath

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


def machine(name: str, *points: Checked) -> CheckedMachine:
    path = MachinePath("acme", "north", "curing", "curing-1", name)
    return CheckedMachine(path, "curing-press", "modbus+tcp://10.20.1.11:502?unit=1", list(points))


def good(name: str) -> Checked:
    return Checked(name, "bar", 16.02, Quality.GOOD, where="holding 2", raw="0642")


def report() -> Report:
    bad = Checked("force", "kN", None, Quality.BAD, "refused", "exception 2", "holding 8..9", "")
    bad.findings = [wrong("refused", "refused (exception 2): the device does not give it")]
    swapped = Checked(
        "temperature", "Cel", 4.1e11, Quality.UNCERTAIN, "out_of_range", "", "holding 4..5", "52BF 43AB"
    )
    swapped.findings = [
        wrong("out_of_range", "4.1e+11 Cel is outside its range [0, 250]"),
        wrong("swapped", "looks like swapped words or bytes: write order: CDAB, which gives 171.8 Cel"),
    ]
    still = good("level")
    still.findings = [doubt("constant", "it was 16.02 bar in all of 10 readings")]
    absent = machine("press-03", Checked("pressure"), Checked("force"))
    absent.absent = True
    absent.findings = [wrong("not_connected", "10.20.1.13:502 does not answer: is the cable in?")]
    for point in absent.points:
        point.findings = absent.findings
    text = Checked("text\x00", "", "a\x08b", Quality.GOOD)
    pieces = machine("press-01", good("pressure"), bad, swapped, still), machine("press-02", good("pressure"), text)
    return Report("factory.yaml", 1.25, [*pieces, machine("press-04", Checked("alarms")), absent], ["a note"])


def counted(suite: Element) -> dict[str, int]:
    return {key: int(suite.attrib[key]) for key in ("tests", "failures", "skipped", "errors")}


def test_junit_has_a_suite_for_each_machine_and_a_case_for_each_point() -> None:
    """It also has the counts that programs add up."""
    root = ET.fromstring(junit(report()))  # noqa: S314 - our own
    assert root.tag == "testsuites"
    assert counted(root) == {"tests": 9, "failures": 4, "skipped": 1, "errors": 0}
    names = {suite.attrib["name"].rpartition("/")[2]: counted(suite) for suite in root}
    assert names == {
        "press-01": {"tests": 4, "failures": 2, "skipped": 0, "errors": 0},
        "press-02": {"tests": 2, "failures": 0, "skipped": 0, "errors": 0},
        "press-04": {"tests": 1, "failures": 0, "skipped": 1, "errors": 0},
        "press-03": {"tests": 2, "failures": 2, "skipped": 0, "errors": 0},
    }
    for suite in root:
        cases = suite.findall("testcase")
        assert len(cases) == int(suite.attrib["tests"])
        assert all(case.attrib["classname"] == suite.attrib["name"].replace("/", ".") for case in cases)
        assert sum(case.find("failure") is not None for case in cases) == int(suite.attrib["failures"])


def test_a_failing_case_has_all_its_reasons_in_one_failure() -> None:
    """Readers of JUnit show the first failure of a case, and its message in the list."""
    root = ET.fromstring(junit(report()))  # noqa: S314 - our own
    [case] = root.findall(".//testcase[@name='temperature']")
    [failure] = case.findall("failure")
    assert failure.attrib["type"] == "out_of_range"
    assert failure.attrib["message"].startswith("4.1e+11 Cel is outside")
    assert "order: CDAB" in str(failure.text)
    output = str(root.findall(".//testcase[@name='pressure']/system-out")[0].text)
    assert output.splitlines() == ["16.02 bar", "good", "holding 2", "0642"]


def test_doubts_fail_only_on_request() -> None:
    """A stopped machine must not fail a pipeline."""
    relaxed, strict = (ET.fromstring(junit(report(), strict=strict)) for strict in (False, True))  # noqa: S314 - our own
    assert relaxed.find(".//testcase[@name='level']/failure") is None
    assert strict.find(".//testcase[@name='level']/failure") is not None
    assert not report().passed()
    only_doubts = Report("f", 1.0, [machine("press-01", report().machines[0].points[3])])
    assert only_doubts.passed()
    assert not only_doubts.passed(strict=True)


def test_characters_that_xml_does_not_allow_are_replaced() -> None:
    """A device's text may have anything in it, and one character would cost the whole report."""
    root = ET.fromstring(junit(report()))  # noqa: S314 - our own
    assert root.find(".//testcase[@name='text\ufffd']") is not None


def test_a_finding_about_the_whole_factory_is_a_case_of_its_own() -> None:
    """A factory that did not start has no machine that could fail."""
    root = ET.fromstring(junit(Report("f", 1.0, [], findings=[wrong("not_started", "it did not start")])))  # noqa: S314 - our own
    assert counted(root) == {"tests": 1, "failures": 1, "skipped": 0, "errors": 0}
    assert [one.attrib["message"] for one in root.findall("testsuite/testcase/failure")] == ["it did not start"]


def shown(width: int, *, every_point: bool = False) -> list[str]:
    return [click.unstyle(line) for line in lines(report(), width, every_point=every_point)]


def test_the_summary_comes_first_and_then_only_points_that_are_not_good() -> None:
    """A thousand machines are summarized in one line."""
    text = shown(120)
    assert text[:4] == [
        "factory.yaml: 4 machines, 9 points: 3 good, 1 not seen, 1 doubtful, 4 not good",
        "1 machine not there",
        "a note",
        "took 1.2 s",
    ]
    whole = "\n".join(text)
    assert "curing-1/press-01   curing-press   modbus+tcp://10.20.1.11:502?unit=1" in whole
    assert "not good  force" in whole
    assert "write order: CDAB, which gives 171.8 Cel" in whole
    assert "  and 1 point more, good" in text
    assert "press-02" not in whole
    assert "press-04" not in whole
    assert "10.20.1.13:502 does not answer: is the cable in?" in whole
    assert whole.count("does not answer") == 1, "once for the machine, and not for each of its points"


def test_everything_is_shown_on_request() -> None:
    """Good points are shown with the content of their registers."""
    whole = "\n".join(shown(120, every_point=True))
    assert re.search(r"^  good      pressure +16\.02 bar  holding 2 +0642 +good$", whole, re.MULTILINE)
    assert "press-02" in whole


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140])
def test_no_line_is_longer_than_the_terminal(width: int) -> None:
    """Wrapped lines can't be read; in a narrow terminal a point has two lines."""
    text = shown(width, every_point=True)[1:]  # the first names the file
    assert [line for line in text if len(line) > width] == []
    named = [line for line in text if "temperature" in line]
    assert ("52BF 43AB" in named[0]) == (width >= 100)


def test_json_contains_the_whole_report() -> None:
    """Other programs read it."""
    data = orjson.loads(orjson.dumps(report().as_dict()))
    assert data["passed"] is False
    assert data["points"] == {"good": 3, "not_seen": 1, "doubtful": 1, "wrong": 4}
    force = data["machines"][0]["points"][1]
    assert (force["value"], force["quality"], force["reason"], force["code"]) == (
        None,
        "bad",
        "refused",
        "exception 2",
    )
    assert force["findings"] == [
        {"severity": "wrong", "kind": "refused", "text": "refused (exception 2): the device does not give it"}
    ]


def test_a_fault_of_many_machines_is_reported_once() -> None:
    """Report a mistake of a template once, with the values of the first machine and the names of the others."""
    machines = []
    for i in range(300):
        force = Checked("force", "kN", i * 1.5, Quality.UNCERTAIN, "out_of_range")
        force.findings = [wrong("out_of_range", f"{i * 1.5} kN is outside its range [0, 1e-05]")]
        machines.append(machine(f"press-{i:03}", good("pressure"), force))
    machines[7].points[0].findings = [doubt("constant", "it was 16.02 bar in all of 10 readings")]
    text = [click.unstyle(line) for line in lines(Report("f", 1.0, machines), 120, every_point=False)]
    whole = " ".join(" ".join(text).split())
    assert "0.0 kN is outside" in whole
    assert "likewise 298 more machines: curing-1/press-001, curing-1/press-002," in whole
    assert "10.5 kN is outside" in whole, "another thing is odd there, too"
    assert len(text) < 80
