"""What `make package` builds: the same bytes each time, and each package installs a gateway that works."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packages import DEBCONF, PYTHON, SECOND, architecture, build, only, system_python
from processes import Lineside, Process, need, until, write_factory
from servers import Mosquitto
from system_copy import SystemCopy

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
ONLINE_SECONDS = 60.0


def test_the_same_tree_gives_the_same_bytes(dist: Path, tmp_path: Path):
    """Plant IT can build a package again and compare: nothing was added on the way."""
    files = [path for path in dist.iterdir() if path.is_file()]
    before = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    del before["SHA256SUMS"]
    assert build(tmp_path / "again") == before
    kinds = {re.sub(r"\d[\w.~-]*?(?=[_-]|\.(?:deb|tar|whl))", "N", name) for name in before}
    assert len(before) == 6, kinds


def test_the_bill_of_materials_is_valid_and_complete(dist: Path):
    """A scanner of known vulnerabilities reads it, and a person who asks for licences."""
    text = only(dist, "*-sbom.cdx.json").read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bom = json.loads(text)
    assert bom["metadata"]["component"]["name"] == "lineside"
    requirements = (ROOT / "requirements-service.txt").read_text(encoding="utf-8")
    pins = dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", requirements, re.MULTILINE))
    assert {entry["name"]: entry["version"] for entry in bom["components"]} == pins
    assert all(entry["licenses"] for entry in bom["components"])
    needed = {entry["ref"]: entry.get("dependsOn", []) for entry in bom["dependencies"]}
    assert any(ref.startswith("pkg:pypi/asyncua@") for ref in needed[bom["metadata"]["component"]["bom-ref"]])
    licences = only(dist, "*-third-party-licences.txt").read_text(encoding="utf-8")
    assert "not stated" not in licences
    for name, number in pins.items():
        assert f"\n{name} {number} " in licences


def run(*command: str | Path, environment: dict[str, str] | None = None) -> tuple[int, str]:
    """Return the exit code and the output of a command."""
    ran = subprocess.run(
        command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    return ran.returncode, ran.stdout


def documented_factory(folder: Path) -> Path:
    """Write the factory and the template of the README, as a reader does."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (factory,) = re.findall(r"```yaml\n(format: 1\nfactory: .*?)```", readme, re.DOTALL)
    (template,) = re.findall(r"```yaml\n(format: 1\nprotocol: .*?)```", readme, re.DOTALL)
    (folder / "machines").mkdir()
    (folder / "machines" / "curing-press.yaml").write_text(template, encoding="utf-8")
    file = folder / "factory.yaml"
    file.write_text(factory, encoding="utf-8")
    return file


class Installed(Lineside):
    """A service of an installed package, started by its own command line."""

    def __init__(self, folder: Path, line: list[str]) -> None:
        super().__init__("run", folder / "factory.yaml")
        self._line = line

    def command(self) -> list[str]:
        return self._line

    def launch(self) -> None:
        Process.launch(self)


async def test_the_bundle_installs_without_a_network_and_its_gateway_reads(dist: Path, tmp_path: Path):
    """The factory of the README, with the wheel in an environment that has nothing else."""
    with tarfile.open(only(dist, "*-bundle.tar")) as archive:
        archive.extractall(tmp_path / "bundle", filter="data")
    folder = only(tmp_path / "bundle", "lineside-*")
    prefix = tmp_path / "installed"
    environment = {"PATH": os.environ["PATH"], "PYTHON": sys.executable, "PIP_INDEX_URL": "http://127.0.0.1:1/"}

    def install(*arguments: str) -> tuple[int, str]:
        return run(folder / "install.sh", *arguments, environment=environment)

    code, said = install("--prefix", str(prefix))
    assert code == 0, said
    version = run(prefix / "bin" / "lineside", "--version")[1].split()[-1]
    assert said == f"lineside {version} is in {prefix}\n"
    assert install("--prefix", str(prefix)) == (
        1,
        f"install.sh: {prefix} exists; remove it first to install this version again\n",
    )
    assert install("--into", "x")[0] == 2
    wheel = only(folder / "wheels", "asyncua-*.whl")
    wheel.write_bytes(wheel.read_bytes()[:-1] + b"x")
    code, said = install("--prefix", str(tmp_path / "second"))
    assert code == 1
    assert "asyncua" in said
    assert said.endswith("install.sh: this bundle is damaged; copy it again\n")
    assert not (tmp_path / "second").exists()
    (folder / "TARGETS").write_text("cp39 riscv64\n", encoding="utf-8")
    code, said = install("--prefix", str(tmp_path / "second"))
    assert (code, said.partition("only for:")[2]) == (1, " cp39 riscv64\n")

    broker = await Mosquitto.start(tmp_path)
    factory = documented_factory(tmp_path)
    assert "valid: 2 machines" in run(prefix / "bin" / "lineside", "validate", factory)[1]
    text = factory.read_text(encoding="utf-8").replace("/var/lib/lineside", str(tmp_path / "spool"))
    local = re.sub(r"^broker: .*$", f"broker: {{url: '{broker.url}'}}", text, flags=re.MULTILINE)
    factory.write_text(local, encoding="utf-8")
    await Lineside.simulate(factory, tmp_path / "moved.yaml")
    line = [str(prefix / "bin" / "lineside"), "--log", "json", "run", str(tmp_path / "moved.yaml")]
    gateway = Installed(tmp_path, line)
    gateway.launch()
    await gateway.logged("machine.online", times=2, seconds=ONLINE_SECONDS)
    assert await gateway.stop() == 0


def test_the_bundle_has_wheels_for_both_processors(dist: Path):
    with tarfile.open(only(dist, "*-bundle.tar")) as archive:
        names = [entry.name.partition("/")[2] for entry in archive.getmembers()]
    for machine in ("x86_64", "aarch64"):
        for package in ("cryptography", "pydantic_core", "orjson"):
            assert [name for name in names if name.startswith(f"wheels/{package}-") and machine in name]
    assert {"install.sh", "SHA256SUMS", "LICENSE", "NOTICE", "sbom.cdx.json", "third-party-licences.txt"} <= set(
        names
    )


@pytest.fixture
def system(tmp_path: Path) -> Iterator[SystemCopy]:
    (tmp_path / "system").mkdir()
    with SystemCopy(tmp_path / "system") as copy:
        yield copy


LEFT = (
    "etc/passwd", "etc/shadow", "etc/group", "etc/gshadow", "etc/.pwd.lock", "etc/subuid", "etc/subgid",
    "var/lib/dpkg/", "var/cache/debconf/", "var/cache/man/", "var/log/dpkg.log", "run/systemd/",
    "var/lib/lineside/edge-01.",
)  # fmt: skip
"""Files that a removed package leaves: the state; its user, as Debian's policy asks; lists of dpkg and systemd."""


async def test_the_debian_package_installs_starts_upgrades_and_goes(dist: Path, tmp_path: Path, system: SystemCopy):
    """On a copy of this machine. Without systemd, the service is started by the command line of its unit."""
    if system_python() != PYTHON:
        pytest.skip(f"a package for this Python is not for the system's Python {system_python()}")
    second = dist / SECOND
    first = install(system, only(dist, f"lineside_*_{architecture()}.deb"))
    assert "lineside" in system.run("id", "-nG", "lineside")
    assert "dialout" in system.run("id", "-nG", "lineside")
    assert system.run("stat", "-c", "%A %U", "/etc/lineside/secrets", "/var/lib/lineside").splitlines() == [
        "drwx------ root",
        "drwxr-x--- lineside",
    ]
    assert system.run("lineside", "--version").startswith("lineside")
    assert "valid: 1 machine" in system.run("lineside", "validate", "/etc/lineside/factory.yaml", user="lineside")
    assert "complete" in system.run(
        "bash", "-c", ". /usr/share/bash-completion/completions/lineside; complete -p lineside"
    )
    assert system.run("systemd-analyze", "verify", "--man=no", "lineside-gateway@factory.service") == ""
    assert "not installed" in system.run("lineside", "simulate", "--faults", code=1)

    broker = await Mosquitto.start(tmp_path)
    await configure(system, tmp_path, broker)
    before = await run_a_while(system, tmp_path)
    assert before["pending"] > 0

    upgraded = install(system, only(second, "lineside_*.deb"))
    assert first != upgraded
    assert yaml_of(system) == (tmp_path / "moved.yaml").read_text(encoding="utf-8")
    after = await run_a_while(system, tmp_path)
    assert after["acquired"] > before["acquired"]
    assert after["pending"] >= before["pending"]

    system.run("dpkg", "--remove", "lineside", **DEBCONF)
    assert not (system.root / "opt/lineside").exists()
    said = system.run("dpkg", "--purge", "lineside", **DEBCONF)
    assert "/var/lib/lineside is kept" in said
    assert (system.root / "var/lib/lineside/edge-01.spool.db").exists()

    left = [str(path.relative_to(system.changes)) for path in system.changes.rglob("*") if path.is_file()]
    assert [path for path in left if not path.startswith(LEFT)] == []


def install(system: SystemCopy, package: Path) -> str:
    """Install a package in the copy; return its version."""
    target = system.root / "root" / package.name
    target.write_bytes(package.read_bytes())
    system.run("dpkg", "--install", f"/root/{package.name}", **DEBCONF)
    target.unlink()
    return system.run("dpkg-query", "--show", "--showformat=${Version}", "lineside")


async def configure(system: SystemCopy, folder: Path, broker: Mosquitto) -> None:
    """Let the installed gateway read a simulated press, and write its spool where the unit lets it."""
    file = write_factory(
        folder / "factory.yaml",
        gateway={"id": "edge-01", "spool": {"folder": "/var/lib/lineside"}},
        broker={"url": broker.url},
        lines={
            "line": {
                "area": "area",
                "machines": {"m-01": {"template": "curing-press", "connection": "modbus+tcp://127.0.0.1:502?unit=1"}},
            }
        },
    )
    await Lineside.simulate(file, folder / "moved.yaml")
    text = (folder / "moved.yaml").read_text(encoding="utf-8")
    (system.root / "etc/lineside/factory.yaml").write_text(text, encoding="utf-8")


def yaml_of(system: SystemCopy) -> str:
    return (system.root / "etc/lineside/factory.yaml").read_text(encoding="utf-8")


async def run_a_while(system: SystemCopy, folder: Path) -> dict[str, int]:
    """Start the gateway as its unit does, until it reads; stop it, and return the ledger."""
    unit = (system.root / "usr/lib/systemd/system/lineside-gateway@.service").read_text(encoding="utf-8")
    (start,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    (user,) = re.findall(r"^User=(.*)$", unit, re.MULTILINE)
    words = start.replace("%i", "factory").split()
    line = system.command("env", "-C", "/var/lib/lineside", *words, user=user, STATE_DIRECTORY="/var/lib/lineside")
    gateway = Installed(folder, line)
    gateway.launch()
    await gateway.logged("machine.online", seconds=ONLINE_SECONDS)
    database = system.root / "var/lib/lineside/edge-01.spool.db"
    await until(database.exists, "the spool is there")
    assert await gateway.stop() == 0
    ledger: dict[str, int] = gateway.events("gateway.stopped")[0]
    return ledger


def test_every_manual_page_is_free_of_warnings_of_groff(dist: Path, tmp_path: Path):
    """`man` would print them in front of the page."""
    package = only(dist, "lineside_*_amd64.deb")
    subprocess.run([need("dpkg-deb"), "--extract", package, tmp_path], check=True)
    pages = sorted((tmp_path / "usr/share/man/man1").glob("*.gz"))
    assert {"lineside.1.gz", "lineside-run.1.gz", "lineside-spool-status.1.gz"} <= {page.name for page in pages}
    environment = {"MANWIDTH": "100", "LANG": "C.UTF-8", "PATH": os.environ["PATH"]}
    for page in pages:
        code, shown = run(need("man"), "--warnings", "--local-file", page, environment=environment)
        assert code == 0
        assert re.findall(r"^.*: warning: .*", shown, re.MULTILINE) == [], page
        assert "lineside" in shown
