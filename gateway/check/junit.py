"""A check's report as JUnit XML, which every CI reads: a suite for each machine, a case for each point."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement, tostring

from gateway.check.flags import shown
from gateway.check.results import Severity, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.check.results import Checked, CheckedMachine, Finding, Report

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML forbids (XML 1.0, clause 2.2): a device's text may contain any."""


def junit(report: Report, *, strict: bool = False) -> bytes:
    """Return the report as an XML document. `strict` lets doubtful points fail, too."""
    root = Element("testsuites", name=_text(f"lineside check {report.file}"), time=f"{report.seconds:.3f}")
    suites = [_suite(root, machine, strict=strict) for machine in report.machines]
    if report.findings:
        whole = SubElement(root, "testsuite", name="factory", time="0")
        case = SubElement(whole, "testcase", classname="factory", name="factory as a whole", time="0")
        _outcome(case, report.findings, strict=strict)
        _count(whole)
        suites.append(whole)
    for key in "tests", "failures", "skipped", "errors":
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in suites)))
    document: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return document


def _suite(root: Element, machine: CheckedMachine, *, strict: bool) -> Element:
    name = _text(str(machine.path))
    suite = SubElement(root, "testsuite", name=name, time="0")
    for point in machine.points:
        case = SubElement(suite, "testcase", classname=name.replace("/", "."), name=_text(point.name), time="0")
        _outcome(case, point.findings, strict=strict)
        if point.verdict is Verdict.NOT_SEEN:
            SubElement(case, "skipped", message="an event, and none happened")
        SubElement(case, "system-out").text = _text(_details(point))
    if machine.findings and not machine.absent:
        case = SubElement(suite, "testcase", classname=name.replace("/", "."), name="machine as a whole", time="0")
        _outcome(case, machine.findings, strict=strict)
    _count(suite)
    return suite


def _outcome(case: Element, findings: Iterable[Finding], *, strict: bool) -> None:
    """Let a case fail where something is wrong; one failure with all of it, since readers look for one."""
    counts = set(Severity) if strict else {Severity.WRONG}
    failed = [finding for finding in findings if finding.severity in counts]
    if failed:
        failure = SubElement(case, "failure", type=_text(failed[0].kind), message=_text(failed[0].text))
        failure.text = _text("\n".join(finding.text for finding in failed))


def _count(suite: Element) -> None:
    cases = suite.findall("testcase")
    suite.set("tests", str(len(cases)))
    suite.set("failures", str(sum(case.find("failure") is not None for case in cases)))
    suite.set("skipped", str(sum(case.find("skipped") is not None for case in cases)))
    suite.set("errors", "0")


def _details(point: Checked) -> str:
    quality = " ".join(word for word in (point.quality or "", point.reason, point.code) if word)
    parts = [shown(point.value, point.unit), quality, point.where, point.raw]
    parts += [f"{key} {value}" for key, value in point.more.items()]
    parts += [finding.text for finding in point.findings]
    return "\n".join(part for part in parts if part)


def _text(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
