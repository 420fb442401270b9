"""Packages of a plant: licences, vulnerabilities, pinned build tools, the same wheel twice, no simulators."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "tools"

COPYLEFT = re.compile(r"\b(?:A|L)?GPL|\bMPL|\bEPL|\bCDDL|\bEUPL", re.IGNORECASE)
"""Licences with duties for those who pass a package on."""

PERMISSIVE = re.compile(r"MIT|BSD|Apache|ISC|PSF|Python Software Foundation|Unlicense|Zlib|ZPL", re.IGNORECASE)


def pins(name: str) -> dict[str, str]:
    """Return the pinned versions of a requirements file, without packages for browsers alone."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if "emscripten" not in line)
    return dict(re.findall(r"^([a-z0-9._-]+)==([^\s;]+)", text, re.MULTILINE))


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The table of licences of tools/release."""
    monkeypatch.syspath_prepend(str(TOOLS / "release"))
    return runpy.run_path(str(TOOLS / "release" / "components.py"))


def test_every_licence_is_known_and_the_notice_names_those_with_duties(release: dict[str, Any]) -> None:
    """A supplier who passes a box on passes these packages on: the notice must name their duties."""
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    explained = notice[: notice.index("Packages of an environment")]
    with_duties, unknown = [], []
    for name, version in pins("requirements-service.txt").items():
        found = importlib.metadata.distribution(name)
        assert found.version == version, f"{name}: install requirements.txt again"
        licence = release["_licence"](name, found.metadata)
        if COPYLEFT.search(licence):
            with_duties.append(name)
            assert re.search(rf"^\* {re.escape(name)}\b", explained, re.MULTILINE), f"{name}: {licence}"
        elif not PERMISSIVE.search(licence):
            unknown.append(f"{name}: {licence}")
    assert unknown == []
    assert set(with_duties) == set(re.findall(r"^\* ([a-z0-9-]+) \(", explained, re.MULTILINE)), "no more, no less"
    assert "asyncua" in with_duties


def test_the_licence_is_that_of_the_metadata() -> None:
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").lstrip().startswith("Apache License")
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


# -- build tools --


def test_build_tools_are_pinned_and_hashed_and_used_without_isolation() -> None:
    """A build that fetched its backend unpinned could be changed by anybody who can publish that package."""
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    for tool in ("hatchling", "editables"):
        assert re.search(rf"^{tool}==\S+ \\\n    --hash=sha256:", text, re.MULTILINE), tool
    assert re.search(r"^uv==\S+ \\\n", (ROOT / "requirements-dev.txt").read_text(encoding="utf-8"), re.MULTILINE)
    for file in ("Makefile", "Dockerfile", "tools/install-packages"):
        for line in (ROOT / file).read_text(encoding="utf-8").replace("\\\n", " ").replace('"', "").splitlines():
            if "pip install" in line and not line.lstrip().startswith("#"):
                hashed = "--require-hashes" in line
                own = "--no-deps" in line and ("--no-build-isolation" in line or ".whl" in line)
                assert hashed or own, f"{file}: {line}"


# -- the wheel --


def copied(folder: Path) -> Path:
    """Copy the files of a wheel, with other times and rights."""
    for name in ("gateway", "drivers", "simulators", "config"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE", ".gitignore"):
        shutil.copyfile(ROOT / name, folder / name)
    return folder


def wheel(tree: Path, out: Path, epoch: str) -> Path:
    """Build the wheel of a tree; return its file."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(out)]
    environment = os.environ | {"SOURCE_DATE_EPOCH": epoch}
    subprocess.run(command, cwd=tree, env=environment, check=True, capture_output=True)
    (found,) = out.glob("*.whl")
    return found


def test_the_wheel_of_the_same_tree_has_the_same_hash(tmp_path: Path) -> None:
    """Times, rights and the place of the tree leave no trace: plant IT builds it again, and compares."""
    first = copied(tmp_path / "a")
    second = copied(tmp_path / "elsewhere" / "b")
    for path in second.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
        os.utime(path, (1_700_000_000, 1_700_000_000))
    wheels = [wheel(first, tmp_path / "1", "1764547200"), wheel(second, tmp_path / "2", "1764547200")]
    digests = {hashlib.sha256(file.read_bytes()).hexdigest() for file in wheels}
    assert len(digests) == 1
    other = wheel(first, tmp_path / "3", "1764633600")
    assert hashlib.sha256(other.read_bytes()).hexdigest() not in digests, "the time of the build is in it"
    names = zipfile.ZipFile(wheels[0]).namelist()
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert any(name.endswith("licenses/NOTICE") for name in names)


# -- production --

BLOCKED = ("simulators", "gateway.demo", "pymodbus", "amqtt", "rich", "matplotlib")
"""Packages that an edge box does not have."""

NEED_SIMULATORS = {
    "gateway.check.simulated", "gateway.cli.demo", "gateway.cli.embedded_broker", "gateway.cli.simulate",
    "gateway.pytest_plugin", "gateway.trial",
}  # fmt: skip
"""Modules of commands that say what is missing, when they are called in production."""

PROGRAM = """
import importlib, json, pkgutil, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if any(name == one or name.startswith(one + ".") for one in BLOCKED):
            raise ModuleNotFoundError(f"{name} is not on an edge box", name=name)

sys.meta_path.insert(0, Refuse())
failed, loaded = {}, []
import drivers, gateway
for package in (drivers, gateway):
    for one in pkgutil.walk_packages(package.__path__, package.__name__ + ".", onerror=lambda name: None):
        if one.name == "gateway.demo" or one.name.startswith("gateway.demo.") or one.name.endswith("__main__"):
            continue
        try:
            importlib.import_module(one.name)
        except ModuleNotFoundError as error:
            failed[one.name] = error.name
        loaded.append(one.name)
wrong = [one for one in sys.modules if any(one == name or one.startswith(name + ".") for name in BLOCKED)]
print(json.dumps({"failed": failed, "modules": len(loaded), "wrong": wrong}))
"""


def test_production_imports_nothing_of_the_simulators() -> None:
    """The image of the gateway has neither them nor the demo: all modules that it runs load without them."""
    program = f"BLOCKED = {BLOCKED!r}\n{PROGRAM}"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, check=False, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout.splitlines()[-1])
    assert said["modules"] > 300
    assert said["wrong"] == []
    blocked = {name for name, missing in said["failed"].items() if str(missing).startswith(BLOCKED)}
    assert {name for name in blocked if not name.startswith(tuple(NEED_SIMULATORS))} == set()
    assert set(said["failed"]) - blocked <= {"drivers.testing"}, said["failed"]


def test_the_image_of_the_gateway_has_no_simulators() -> None:
    """The same list for all packages: the image and the Debian package leave out the same folders."""
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    project = (TOOLS / "release" / "project.py").read_text(encoding="utf-8")
    (removed,) = re.findall(r"&& rm -r (.+?) \\\n", dockerfile)
    (listed,) = re.findall(r"^NOT_IN_PRODUCTION = \((.+?)\)", project, re.MULTILINE)
    assert removed.split() == re.findall(r'"(.+?)"', listed)
    assert dockerfile.rstrip().rpartition("FROM base AS ")[2].startswith("gateway"), "the default target is the last"
    assert {"pymodbus", "amqtt", "rich"}.isdisjoint(pins("requirements-service.txt"))


# -- vulnerabilities --

ENTRY: dict[str, Any] = {
    "id": "TEST-2026-1", "modified": "2026-11-30T00:00:00Z", "aliases": ["CVE-2026-1"], "summary": "A test",
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "Some.Package"},
            "ranges": [
                {
                    "type": "ECOSYSTEM",
                    "events": [
                        {"introduced": "1.0"}, {"fixed": "1.4"}, {"introduced": "2.0rc1"}, {"last_affected": "2.3"},
                    ],
                }
            ],
            "versions": ["0.5"],
        }
    ],
}  # fmt: skip


def check(
    tmp_path: Path, version: str, *entries: Any, more: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run the tool for one package and some entries."""
    database = tmp_path / "database"
    database.mkdir(exist_ok=True)
    for number, entry in enumerate(entries):
        text = entry if isinstance(entry, str) else json.dumps(entry)
        (database / f"{number}.json").write_text(text, encoding="utf-8")
    listed = tmp_path / "requirements.txt"
    listed.write_text(f"some-package=={version} \\\n    --hash=sha256:00\n", encoding="utf-8")
    command = [sys.executable, str(TOOLS / "vulnerabilities.py"), "--database", str(database), *more, str(listed)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


AFFECTED = ("0.5", "1.0", "1.3.9", "1.4rc1", "2.0rc1", "2.3")
NOT_AFFECTED = ("0.9", "1.4", "1.9", "2.3.post1", "2.4")


@pytest.mark.parametrize("version", [*AFFECTED, *NOT_AFFECTED])
def test_a_version_is_found_in_the_ranges_of_an_entry(version: str) -> None:
    is_affected = runpy.run_path(str(TOOLS / "vulnerabilities.py"))["is_affected"]
    assert is_affected(version, ENTRY["affected"][0]) is (version in AFFECTED)


def test_a_known_vulnerability_is_named_with_the_version_that_mends_it(tmp_path: Path) -> None:
    ran = check(tmp_path, "1.2", ENTRY)
    assert ran.returncode == 1
    assert ran.stdout == (
        "some-package 1.2: TEST-2026-1 CVE-2026-1: A test; mended in 1.4\n1 packages, 1 vulnerabilities, 0 accepted\n"
    )
    assert check(tmp_path, "1.4", ENTRY).returncode == 0
    assert check(tmp_path, "1.2", ENTRY | {"withdrawn": "2026-11-30T00:00:00Z"}).returncode == 0
    other = {"package": {"ecosystem": "npm", "name": "some-package"}}
    assert check(tmp_path, "1.2", ENTRY | {"affected": [other]}).returncode == 0


def test_a_person_can_accept_a_vulnerability_with_a_reason(tmp_path: Path) -> None:
    judged = tmp_path / "accepted.txt"
    judged.write_text("# judged\nCVE-2026-1 2999-12-31 the function is not used here\n")
    ran = check(tmp_path, "1.2", ENTRY, more=("--accept", str(judged)))
    assert (ran.returncode, ran.stdout) == (0, "1 packages, 0 vulnerabilities, 1 accepted\n")
    for line, words in (("", "write the day until which"), (" never", "write the day"),
                        (" 2999-12-31", "write the reason")):  # fmt: skip
        judged.write_text(f"CVE-2026-1{line}\n")
        ran = check(tmp_path, "1.2", ENTRY, more=("--accept", str(judged)))
        assert ran.returncode == 2
        assert words in ran.stderr
    judged.write_text("CVE-2026-1 2020-12-31 the function is not used here\n")
    ran = check(tmp_path, "1.2", ENTRY, more=("--accept", str(judged)))
    assert ran.returncode == 1, "an acceptance ends"
    assert "was accepted until 2020-12-31; judge it again" in ran.stderr


def build(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, str(ROOT / "tools" / "release"), "wheel", *arguments]
    return subprocess.run(line, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def test_a_release_with_a_known_vulnerability_is_refused_unless_it_is_accepted(tmp_path: Path) -> None:
    """Before anything is built; and nobody signs a release without the comparison by mistake."""
    database, out = tmp_path / "database", tmp_path / "dist"
    database.mkdir()
    package = {"ecosystem": "PyPI", "name": "asyncua"}
    entry = ENTRY | {
        "affected": [{"package": package, "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}]}]
    }
    (database / "TEST-2026-1.json").write_text(json.dumps(entry))
    options = ("--out", str(out), "--database", str(database))
    ran = build(*options)
    assert ran.returncode == 1
    assert "asyncua" in ran.stdout
    assert "this release has known vulnerabilities: update the packages, or accept them" in ran.stderr
    assert not out.exists()
    judged = tmp_path / "accepted.txt"
    judged.write_text("TEST-2026-1 2999-12-31 the function is not used here\n")
    assert build(*options, "--accept", str(judged)).returncode == 0
    assert list(out.glob("*.whl"))
    key = tmp_path / "release.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True)
    unchecked = build("--out", str(tmp_path / "other"), "--sign-key", str(key))
    assert unchecked.returncode == 2
    assert "--unchecked" in unchecked.stderr
    empty = build("--out", str(tmp_path / "other"), "--database", str(tmp_path))
    assert empty.returncode == 1
    assert not (tmp_path / "other").exists()


def test_make_and_ci_compare_with_the_database_where_there_is_one() -> None:
    line = ["make", "--dry-run", "--no-print-directory", "package", "DATABASE=a b", "ACCEPT=c d.txt"]
    said = subprocess.run(line, check=True, cwd=ROOT, capture_output=True, text=True).stdout
    assert "tools/release --database 'a b' --accept 'c d.txt'\n" in said
    assert 'make vulnerabilities DATABASE="$LINESIDE_DATABASE"' in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("entries", [(), ("{",), ("[]",), ('{"id": 7}',)])
def test_a_database_that_can_not_be_used_is_no_pass(tmp_path: Path, entries: tuple[str, ...]) -> None:
    """An empty mirror must not look like a clean bill of health."""
    ran = check(tmp_path, "1.2", *entries)
    assert ran.returncode == 2
    assert "Traceback" not in ran.stderr


def test_an_old_database_is_named(tmp_path: Path) -> None:
    ran = check(tmp_path, "1.4", ENTRY | {"modified": "2020-01-01T00:00:00Z"})
    assert "mirror the database again" in ran.stderr


def test_a_zip_archive_and_a_bill_of_materials_are_read(tmp_path: Path) -> None:
    """The form in which the database is published, and that of a release."""
    archive = tmp_path / "all.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("TEST-2026-1.json", json.dumps(ENTRY))
    bom = tmp_path / "sbom.cdx.json"
    bom.write_text(json.dumps({"components": [{"name": "some-package", "version": "1.2"}]}))
    command = [sys.executable, str(TOOLS / "vulnerabilities.py"), "--database", str(archive), str(bom)]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ran.returncode == 1
    assert "TEST-2026-1" in ran.stdout
