"""The page of metrics, the alert rules and the dashboards name metrics and labels that exist."""

from __future__ import annotations

import json
import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from gateway.metrics.definitions import DEFINITIONS, GATEWAY, GATEWAY_LABEL, INGEST_LABEL, WORKER_LABEL, Kind

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "lineside.rules.yml"
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
OF_METRICS = [file for file in DASHBOARDS if not file.name.startswith("plant-")]

TARGET = {"job", "instance", "enterprise", "site"}
"""Labels that Prometheus adds, as deploy/prometheus/prometheus.yml has them."""

OF_PROMETHEUS = {
    "up": TARGET,
    "ALERTS": TARGET
    | {"alertname", "alertstate", "severity", "gateway", "ingest", "worker", "machine", "line", "store"},
}
SERIES = {series: one for one in DEFINITIONS.values() for series in one.series}


def tool(name: str) -> ModuleType:
    """Return a script of tools/ as a module."""
    spec = spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def expressions() -> list[pytest.param]:
    """Return every PromQL expression of a rule, a panel or a variable about our metrics."""
    found = [
        pytest.param(rule["expr"], id=rule["alert"])
        for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    ]
    for file in OF_METRICS:
        dashboard = json.loads(file.read_text(encoding="utf-8"))
        for panel in dashboard["panels"]:
            found += [
                pytest.param(target["expr"], id=f"{file.stem} {panel['title']} {target['refId']}")
                for target in panel.get("targets", ())
            ]
    return found


def labels_of(series: str) -> set[str]:
    if series in OF_PROMETHEUS:
        return OF_PROMETHEUS[series]
    definition = SERIES[series]
    found = TARGET | {*definition.labels, GATEWAY_LABEL, WORKER_LABEL, INGEST_LABEL}
    return found | ({"le"} if definition.kind is Kind.HISTOGRAM else set())


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_and_label_of_a_query_exists(expression: str):
    """A panel of a metric that was renamed shows nothing, and an alert never fires."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    selectors = re.findall(r"\b((?:lineside|process)_\w+|up|ALERTS)\b(?:\{([^}]*)\})?", bare)
    assert selectors, expression
    known = set()
    for series, inside in selectors:
        assert series in SERIES or series in OF_PROMETHEUS, series
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", inside):
            assert label in labels_of(series), f"{series} has no label {label}"
        known |= labels_of(series)
    for grouping in re.findall(r"\b(?:by|without|on|ignoring|group_left|group_right) ?\(([^)]*)\)", bare):
        for label in filter(None, re.split(r"[,\s]+", grouping)):
            assert label in known, f"no series of {expression} has the label {label}"


@pytest.mark.parametrize("file", OF_METRICS, ids=lambda file: file.stem)
def test_every_legend_names_labels_that_its_query_has(file: Path):
    """A legend with another label shows an empty text."""
    for panel in json.loads(file.read_text(encoding="utf-8"))["panels"]:
        for target in panel.get("targets", ()):
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                groups = re.findall(r"\bby ?\(([^)]*)\)", target["expr"])
                kept = set(re.split(r"[,\s]+", groups[0])) if groups else labels_of_all(target["expr"])
                assert label in kept, f"{panel['title']}: {label}"


def labels_of_all(expression: str) -> set[str]:
    return {label for series in re.findall(r"\b(?:lineside|process)_\w+", expression) for label in labels_of(series)}


@pytest.mark.parametrize("script", ["dashboards", "metrics_page"])
def test_generated_files_are_as_their_scripts_write_them(script: str):
    """A table that is changed by hand would be lost, and a changed metric would not be in it."""
    module = tool(script)
    if script == "dashboards":
        differing = [file.name for file, text in module.texts() if file.read_text(encoding="utf-8") != text]
        assert differing == [], "run tools/dashboards.py"
        assert {file.name for file, _ in module.texts()} == {file.name for file in DASHBOARDS}
    else:
        text = module.PAGE.read_text(encoding="utf-8")
        assert module.page(text) == text, "run tools/metrics_page.py"
        assert all(f"`{name}`" in text for name in DEFINITIONS)


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_dashboards_are_complete(file: Path):
    """Grafana shows a panel without its variables as an empty panel, and reports nothing."""
    dashboard = json.loads(file.read_text(encoding="utf-8"))
    names = {variable["name"] for variable in dashboard["templating"]["list"]}
    texts = [text for panel in dashboard["panels"] for text in strings(panel)]
    used = {name for text in texts for name in re.findall(r"\$\{?([a-z]\w*)", text)} - {
        "tag_machine",
        "timeFilter",
        "tag_unit",
        "tag_point",
    }
    assert used <= names, "a variable that is not defined"
    assert names - {"datasource"} <= used | {"template"}, "a variable that nothing uses"
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    taken = [(x, y) for place in places for x in range(place["x"], place["x"] + place["w"])
             for y in range(place["y"], place["y"] + place["h"])]  # fmt: skip
    assert len(taken) == len(set(taken)), "panels overlap"
    assert max(x for x, _ in taken) < 24
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def strings(value: Any) -> list[str]:
    """Return all texts in a part of a dashboard."""
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for part in parts for text in strings(part)]


def test_names_follow_the_rules_of_prometheus():
    """https://prometheus.io/docs/practices/naming/: base units, `_total` for counters and for nothing else."""
    assert len(DEFINITIONS) > 60
    for one in DEFINITIONS.values():
        assert re.fullmatch(r"(lineside|process)_[a-z_]+[a-z]", one.name)
        assert one.name.endswith("_total") is (one.kind is Kind.COUNTER), one.name
        assert not re.search(r"_(ms|milliseconds|minutes|kb|mb|percent)(_|$)", one.name)
        assert (
            not set(one.labels) & {GATEWAY_LABEL, WORKER_LABEL, INGEST_LABEL, "le", "quantile", *TARGET}
            or one.name == "lineside_configuration_info"
        )
        assert one.help.endswith((".", "always 1."))
        if one.kind in {Kind.HISTOGRAM, Kind.SUMMARY}:
            assert one.unit == "seconds"


def test_help_texts_fit_into_a_table():
    """A pipe or a line feed would end a cell."""
    assert [one.name for one in GATEWAY if "|" in one.help or "\n" in one.help] == []


@pytest.mark.parametrize("script", ["dashboards", "metrics_page"])
def test_the_scripts_check_without_writing(script: str, monkeypatch: pytest.MonkeyPatch):
    """`--check` is for hooks and CI."""
    monkeypatch.setattr(sys, "argv", [f"{script}.py", "--check"])
    assert tool(script).main() == 0
