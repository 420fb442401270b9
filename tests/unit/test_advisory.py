"""Advisories for programs: CSAF 2.0 of a small YAML file, with all that a plant decides by."""

from __future__ import annotations

import json
import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[2]


def _tool() -> ModuleType:
    spec = spec_from_file_location("advisory", ROOT / "tools" / "advisory.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["advisory"] = module
    spec.loader.exec_module(module)
    return module


advisory = _tool()


def example() -> str:
    """Return the YAML that the documents show."""
    text = (ROOT / "docs" / "supply-chain.md").read_text(encoding="utf-8")
    (found,) = re.findall(r"^```\n(id: .*?)^```", text, re.MULTILINE | re.DOTALL)
    return str(found)


def made(tmp_path: Path, text: str) -> dict[str, Any]:
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    assert advisory.main([str(tmp_path / "a.yaml"), "--out", str(tmp_path)]) == 0
    (file,) = tmp_path.glob("*.json")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found | {"file": file.name}


def test_the_example_becomes_a_security_advisory(tmp_path: Path) -> None:
    """The parts that the profile demands (CSAF 2.0, 4.1 and 4.4), each with the content of the YAML."""
    found, written = made(tmp_path, example()), yaml.safe_load(example())
    assert found["file"] == f"{written['id'].lower()}.json"
    document = found["document"]
    assert {"category", "csaf_version", "publisher", "title", "tracking"} <= document.keys()
    assert (document["category"], document["csaf_version"]) == ("csaf_security_advisory", "2.0")
    tracking = document["tracking"]
    assert tracking["version"] == tracking["revision_history"][-1]["number"] == str(len(written["history"]))
    assert tracking["current_release_date"] == written["history"][-1]["date"]
    (one,) = found["vulnerabilities"]
    assert one["cve"] == written["cve"]
    assert one["notes"]
    assert [remedy["category"] for remedy in one["remediations"]] == ["vendor_fix", "workaround"]
    (vendor,) = found["product_tree"]["branches"]
    (product,) = vendor["branches"]
    ids = {leaf["product"]["product_id"]: leaf["name"] for leaf in product["branches"]}
    status = one["product_status"]
    assert {*status["known_affected"], *status["fixed"]} == ids.keys()
    assert ids["LINESIDE-AFFECTED"] == f"vers:pypi/{'|'.join(written['affected'])}"


@pytest.mark.parametrize(
    ("vector", "score", "name"),
    [
        ("AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 9.8, "CRITICAL"),
        ("AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H", 10.0, "CRITICAL"),
        ("AV:L/AC:L/PR:L/UI:N/S:U/C:H/I:H/A:H", 7.8, "HIGH"), ("AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N", 6.1, "MEDIUM"),
        ("AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H", 7.5, "HIGH"), ("AV:N/AC:H/PR:N/UI:N/S:U/C:L/I:N/A:N", 3.7, "LOW"),
        ("AV:N/AC:L/PR:L/UI:N/S:C/C:L/I:L/A:N", 6.4, "MEDIUM"), ("AV:P/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N", 0.0, "NONE"),
    ],
)  # fmt: skip
def test_the_score_is_that_of_cvss(vector: str, score: float, name: str) -> None:
    """Published scores of well-known vectors."""
    assert advisory.base_score(f"CVSS:3.1/{vector}") == score
    assert advisory.severity(score) == name


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("cve: CVE-", "cve: CV-", "cve: "), ("CVSS:3.1/AV:N", "CVSS:3.1/AV:X", "is not a base vector"),
        ("title:", "headline:", "headline: "), ("<0.1.3", "0.1.3", "affected."), ("fixed: [0.1.3]\n", "", ""),
        ("2026-12-01T09:00:00Z", "yesterday", "history.0.date"), ("2026-12-01T09", "2027-12-01T09", "in their order"),
        ("id: ", "id: ../", "id: "),
    ],
)  # fmt: skip
def test_a_mistake_names_file_and_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, message: str
) -> None:
    """A wrong advisory is worse than none: programs act on it."""
    assert old in example()
    text = example().replace(old, new, 1)
    if not message:
        text = re.sub(r"^workaround: .*\n", "", text, flags=re.MULTILINE)
        message = "an advisory says what a plant can do"
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    assert advisory.main([str(tmp_path / "a.yaml"), "--check"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"{tmp_path / 'a.yaml'}: ")
    assert message in error


def test_a_weakness_without_an_id_of_cve_has_one_of_the_publisher(tmp_path: Path) -> None:
    """The number may come later than the advisory."""
    (one,) = made(tmp_path, re.sub(r"^cve: .*\n", "", example(), flags=re.MULTILINE))["vulnerabilities"]
    assert one["ids"] == [{"system_name": "Acme Automation", "text": "ACME-2026-0001"}]
