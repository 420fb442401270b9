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
from booted_system import BootedSystem
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from packages import (
    DEBCONF,
    NEXT_PUBLIC_KEY,
    PUBLIC_KEY,
    PYTHON,
    SECOND,
    architecture,
    build,
    only,
    signing,
    system_python,
)
from processes import Lineside, Process, need, until, write_factory
from servers import Mosquitto

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

pytestmark = pytest.mark.timeout(900)  # the first of them builds all packages

ROOT = Path(__file__).parents[2]
SECONDS = 60.0


def test_the_same_tree_gives_the_same_bytes(dist: Path, tmp_path: Path):
    """Plant IT can build a package again and compare: nothing was added on the way."""
    files = [path for path in dist.iterdir() if path.is_file()]
    before = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    del before["SHA256SUMS"], before["SHA256SUMS.sig"]
    assert build(tmp_path / "again", *signing(dist.parent)) == before
    kinds = {re.sub(r"\d[\w.~-]*?(?=[_-]|\.(?:deb|tar|whl))", "N", name) for name in before}
    assert len(before) == 7, kinds


def test_the_bill_of_materials_is_valid_and_complete(dist: Path):
    """A scanner of known vulnerabilities reads it, and a person who asks for licences."""
    # imported here: the grammars that they compile take each worker two seconds
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = only(dist, "*-sbom.cdx.json").read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bom = json.loads(text)
    assert bom["metadata"]["component"]["name"] == "lineside"
    requirements = (ROOT / "requirements-service.txt").read_text(encoding="utf-8")
    # a package for browsers alone is not installed on any box
    lines = [line for line in requirements.splitlines() if "sys_platform == 'emscripten'" not in line]
    pins = dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", "\n".join(lines), re.MULTILINE))
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


def software(command: Path, folder: Path) -> dict[str, Any]:
    """Return the result of the self-test for the installed software."""
    file = write_factory(
        folder / "checked.yaml",
        gateway={"id": "edge-09", "spool": {"folder": str(folder)}},
        broker={"url": "mqtts://broker.example"},
        lines={
            "line": {
                "area": "area",
                "machines": {"m-01": {"template": "curing-press", "connection": "modbus+tcp://127.0.0.1:1"}},
            }
        },
    )
    _, said = run(command, "self-test", file, "--format", "json", environment={"PATH": os.environ["PATH"]})
    (found,) = (one for one in json.loads(said)["outcomes"] if one["check"] == "software")
    return dict(found)


async def test_the_bundle_installs_without_a_network_and_its_gateway_reads(dist: Path, tmp_path: Path):
    """The factory of the README, with the wheel in an environment that has nothing else.

    The script asks for the signature of a release key, and its installation is compared with the signed manifest.
    """
    with tarfile.open(only(dist, "*-bundle.tar")) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.4 and newer
        archive.extractall(tmp_path / "bundle")  # noqa: S202 - of this test
    folder, key, prefix = only(tmp_path / "bundle", "lineside-*"), dist.parent / PUBLIC_KEY, tmp_path / "installed"
    environment = {"PATH": os.environ["PATH"], "PYTHON": sys.executable, "PIP_INDEX_URL": "http://127.0.0.1:1/"}

    def install(*arguments: str | Path) -> tuple[int, str]:
        return run(folder / "install.sh", *arguments, environment=environment)

    assert install("--into", "x")[0] == 2
    keys = refuse_unsigned(folder, key, lambda *options: install("--prefix", prefix, *options))
    assert not prefix.exists()
    code, said = install("--prefix", prefix, "--key", keys)
    assert code == 0, said
    command = prefix / "bin" / "lineside"
    version = run(command, "--version")[1].split()[-1]
    assert said == f"lineside {version} is in {prefix}\n"
    found = software(command, tmp_path)
    assert (found["result"], found["problems"]) == ("passed", [])
    assert "there is no release key" in "".join(found["notes"])
    check = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", key]
    files = ["-in", prefix / "SHA256SUMS", "-sigfile", prefix / "SHA256SUMS.sig"]
    assert run(*check, *files)[0] == 0
    assert install("--prefix", prefix) == (
        1, f"install.sh: {prefix} exists; remove it first to install this version again\n",
    )  # fmt: skip
    refuse_damaged(folder, lambda: install("--prefix", tmp_path / "second"))
    assert not (tmp_path / "second").exists()

    broker = await Mosquitto.start(tmp_path)
    factory = documented_factory(tmp_path)
    assert "valid: 2 machines" in run(command, "validate", factory)[1]
    text = factory.read_text(encoding="utf-8").replace("/var/lib/lineside", str(tmp_path / "spool"))
    local = re.sub(r"^broker: .*$", f"broker: {{url: '{broker.url}'}}", text, flags=re.MULTILINE)
    factory.write_text(local, encoding="utf-8")
    await Lineside.simulate(factory, tmp_path / "moved.yaml")
    gateway = Installed(tmp_path, [str(command), "--log", "json", "run", str(tmp_path / "moved.yaml")])
    gateway.launch()
    await gateway.logged("machine.online", times=2, seconds=SECONDS)
    assert await gateway.stop() == 0

    changed = only(prefix, "lib/python*/site-packages/drivers/base.py")
    changed.write_text(changed.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    script = prefix / "bin" / "other"
    script.touch()
    found = software(command, tmp_path)
    assert found["result"] == "failed"
    assert [one.split()[0] for one in found["problems"]] == [str(changed), str(script)]


def refuse_unsigned(folder: Path, key: Path, install: Callable[..., tuple[int, str]]) -> Path:
    """Show that a bundle without the signature of a release key is refused; return a file with two keys.

    It has an unknown key and that of the bundle, as while a key is replaced by the next.
    """
    signature, other = folder / "SHA256SUMS.sig", folder.parent / "other.pub"
    made = signature.read_bytes()
    private = Ed25519PrivateKey.generate()
    pem = Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    other.write_bytes(private.public_key().public_bytes(*pem))
    assert install("--key", other) == (
        1, f"install.sh: this bundle is not signed with a release key of {other}; don't use it\n",
    )  # fmt: skip
    signature.unlink()
    code, said = install("--key", key)
    assert code == 1
    assert said.endswith(f"{key} has a release key; to install it although nobody vouches for it, add --unsigned\n")
    assert install("--key", folder / "missing.pub")[1].endswith("name the file with the release key\n")
    signature.write_bytes(made)
    other.write_bytes(other.read_bytes() + key.read_bytes())
    return other


def refuse_damaged(folder: Path, install: Callable[[], tuple[int, str]]) -> None:
    """Show that a bundle with a changed wheel is refused, and one for other machines; it is changed afterwards."""
    wheel = only(folder / "wheels", "asyncua-*.whl")
    wheel.write_bytes(wheel.read_bytes()[:-1] + b"x")
    code, said = install()
    assert code == 1
    assert "asyncua" in said
    assert said.endswith("install.sh: this bundle is damaged; copy it again\n")
    (folder / "TARGETS").write_text("cp39 riscv64\n", encoding="utf-8")
    code, said = install()
    assert (code, said.partition("only for:")[2]) == (1, " cp39 riscv64\n")


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
def system(tmp_path: Path) -> Iterator[BootedSystem]:
    (tmp_path / "system").mkdir()
    with BootedSystem(tmp_path / "system") as booted:
        yield booted


GATEWAY, INGEST = "lineside-gateway@factory", "lineside-ingest@factory"

EXAMPLE = "/srv/example.yaml"
"""A copy of the factory of the package, in the system: it needs no secret."""

PLACES = (
    "/etc", "/opt", "/usr/bin", "/usr/lib/systemd", "/usr/lib/sysusers.d", "/usr/lib/tmpfiles.d", "/usr/share/doc",
    "/usr/share/man", "/usr/share/bash-completion", "/var/lib",
)  # fmt: skip
"""The folders that a package may write to."""

LEFT = (
    "/etc/.pwd.lock", "/etc/group", "/etc/gshadow", "/etc/passwd", "/etc/shadow", "/etc/subgid", "/etc/subuid",
    "/etc/systemd/system/multi-user.target.wants", "/etc/lineside", "/etc/lineside/secrets",
    "/etc/lineside/secrets/broker_password", "/etc/lineside/release.pub", "/var/lib/lineside", "/var/lib/systemd",
    "/var/lib/dpkg",
)  # fmt: skip
"""Files that a removed package leaves: state, secrets, keys; its user, as Debian's policy asks; lists of dpkg."""


async def test_the_debian_package_installs_starts_upgrades_and_goes(dist: Path, tmp_path: Path, system: BootedSystem):
    """On a copy of this machine, with the units of the package under a systemd of the copy.

    The programs of the installed version check its update before it is installed: those of a changed package are
    never run.
    """
    if system_python() != PYTHON:
        pytest.skip(f"a package for this Python is not for the system's Python {system_python()}")
    before = files(system)
    first = install(system, only(dist, f"lineside_*_{architecture()}.deb"))
    assert "dialout" in system.run("id", "-nG", "lineside").split()
    assert system.run("stat", "-c", "%A %U", "/etc/lineside/secrets", "/var/lib/lineside").splitlines() == [
        "drwx------ root",
        "drwxr-x--- lineside",
    ]
    assert "valid: 1 machine" in system.run("lineside", "validate", "/etc/lineside/factory.yaml", user="lineside")
    script = "/usr/share/bash-completion/completions/lineside"
    assert "complete" in system.run("bash", "-c", f". {script}; complete -p lineside")
    assert system.run("systemd-analyze", "verify", "--man=no", f"{GATEWAY}.service", f"{INGEST}.service") == ""
    assert "leaves out" in system.run("lineside", "simulate", "--faults", code=1)
    system.run("cp", "/etc/lineside/factory.yaml", EXAMPLE)
    assert_compiled(system)
    old, new = releases(system, dist)
    refuse_unknown_and_changed(system, dist, new)
    assert installed_version(system) == first

    broker = await Mosquitto.start(tmp_path)
    await configure(system, tmp_path, broker)
    system.run("systemctl", "enable", "--now", GATEWAY, INGEST)  # returns when both have reported that they run
    await until(lambda: "39 of 39 points good" in system.show(GATEWAY, "StatusText"), "the machine is read", SECONDS)
    await until(lambda: stored(system) > 0, "readings are stored", SECONDS)
    system.run("systemctl", "reload", GATEWAY)
    process = system.show(GATEWAY, "MainPID")

    assert "signed with a release key of /etc/lineside/release.pub" in system.run("lineside-update", new, **DEBCONF)
    second = installed_version(system)
    assert second != first
    assert (system.root / "etc/lineside/factory.yaml").read_text() == (tmp_path / "moved.yaml").read_text()
    assert system.show(GATEWAY, "ActiveState") == "active"
    assert system.show(GATEWAY, "MainPID") != process
    await until(lambda: "39 of 39 points good" in system.show(GATEWAY, "StatusText"), "the machine is read", SECONDS)
    ledger = json.loads(system.run("lineside", "ledger", "/etc/lineside/factory.yaml", "--format", "json"))
    assert ledger["balanced"]

    system.run("systemctl", "kill", "--signal=KILL", GATEWAY)
    await until(lambda: system.show(GATEWAY, "NRestarts") == "1", "systemd starts the gateway again", SECONDS)
    await until(lambda: "39 of 39 points good" in system.show(GATEWAY, "StatusText"), "the machine is read", SECONDS)
    assert system.log(GATEWAY).count('"gateway.started"') == 3
    assert "helper.failed" not in system.log(GATEWAY) + system.log(INGEST)

    system.run("systemctl", "stop", GATEWAY, INGEST)
    assert_next_key_is_trusted(system, dist)
    assert f"version {second} is installed, which is newer" in system.run("lineside-update", old, code=1)
    policy = find_changed_software(system)
    system.compile_no_packages()
    system.run("lineside-update", old, "--downgrade", **DEBCONF)
    assert installed_version(system) == first
    policy.unlink()

    system.run("systemctl", "start", GATEWAY)
    system.run("dpkg", "--remove", "lineside", **DEBCONF)
    assert not (system.root / "opt/lineside").exists()
    assert system.show(GATEWAY, "ActiveState") == "inactive"
    assert "/var/lib/lineside is kept" in system.run("dpkg", "--purge", "lineside", **DEBCONF)
    assert (system.root / "var/lib/lineside/edge-01.spool.db").exists()
    left = {path for path in files(system) - before if not path.startswith(("/var/lib/lineside/", "/var/lib/dpkg/"))}
    assert left - set(LEFT) == set()


def assert_compiled(system: BootedSystem) -> None:
    """Show that services import compiled files alone; the nodes of an OPC UA server, which none needs, are not."""
    show = (
        "import sys, drivers.opcua.driver, gateway.gateway_service, gateway.ingest_service\n"
        "print(*(one.__cached__ for one in list(sys.modules.values()) if getattr(one, '__cached__', None)))"
    )
    imported = system.run("/opt/lineside/bin/python3", "-sPBc", show).split()
    own = [file for file in imported if file.startswith("/opt/lineside/")]
    assert any("/asyncua/server/" in file for file in own)
    assert [file for file in own if not (system.root / file[1:]).exists()] == []
    packages = only(system.root, "opt/lineside/lib/python*/site-packages")
    assert not (packages / "asyncua/server/standard_address_space/__pycache__").exists()


def releases(system: BootedSystem, dist: Path) -> tuple[str, str]:
    """Copy the package and its next revision, each with its signature, into the system; return their places there."""
    pattern = f"lineside_*_{architecture()}.deb"
    places = []
    for name, folder in (("one", dist), ("two", dist / SECOND)):
        (system.root / "root" / name).mkdir()
        for file in (only(folder, pattern), *folder.glob("SHA256SUMS*"), folder / "release-next.pub"):
            (system.root / "root" / name / file.name).write_bytes(file.read_bytes())
        places.append(f"/root/{name}/{only(folder, pattern).name}")
    return places[0], places[1]


def refuse_unknown_and_changed(system: BootedSystem, dist: Path, package: str) -> None:
    """Show that a package is refused without a release key, and with the key if it was changed."""
    assert "there is no release key" in system.run("lineside-update", package, code=1)
    (system.root / "etc/lineside/release.pub").write_bytes((dist.parent / PUBLIC_KEY).read_bytes())
    changed = system.root / package[1:]
    content = changed.read_bytes()
    changed.write_bytes(content + b"\0")
    assert "it was changed or damaged" in system.run("lineside-update", package, code=1)
    changed.write_bytes(content)


def assert_next_key_is_trusted(system: BootedSystem, dist: Path) -> None:
    """Show that the update has added the next release key to the present key."""
    present, later = ((dist.parent / name).read_bytes() for name in (PUBLIC_KEY, NEXT_PUBLIC_KEY))
    assert (system.root / "etc/lineside/release.pub").read_bytes() == present + later


def find_changed_software(system: BootedSystem) -> Path:
    """Show that a file of the package that was changed stops a start, where a policy says so; return the policy."""
    line = f"lineside self-test {EXAMPLE} --format json 2>/dev/null; true"  # other checks may find something
    said = system.run("bash", "-c", line, user="lineside")
    (found,) = (one for one in json.loads(said)["outcomes"] if one["check"] == "software")
    assert (found["result"], found["problems"]) == ("passed", [])
    assert found["notes"][0].endswith("and signed with a release key of /etc/lineside/release.pub")
    policy = system.root / "etc/lineside/policy.yaml"
    policy.write_text("format: 1\nsoftware: required\n", encoding="utf-8")
    unit = system.root / "usr/lib/systemd/system/lineside-ingest@.service"
    unit.write_text(unit.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")
    refusal = system.run("lineside", "run", EXAMPLE, user="lineside", code=1)
    assert "software: /usr/lib/systemd/system/lineside-ingest@.service was changed" in refusal
    return policy


def files(system: BootedSystem) -> set[str]:
    """Return the names of all files and folders that are not there before a package is installed."""
    return set(system.run("find", *PLACES, "-xdev").splitlines())


def stored(system: BootedSystem) -> int:
    """Return the number of readings that ingest reports as stored."""
    match = re.match(r"([\d,]+) readings stored", system.show(INGEST, "StatusText"))
    return int(match[1].replace(",", "")) if match else 0


def install(system: BootedSystem, package: Path) -> str:
    """Install a package in the copy; return its version."""
    target = system.root / "root" / package.name
    target.write_bytes(package.read_bytes())
    system.run("dpkg", "--install", f"/root/{package.name}", **DEBCONF)
    target.unlink()
    return installed_version(system)


def installed_version(system: BootedSystem) -> str:
    """Return the version of the installed package."""
    return system.run("dpkg-query", "--show", "--showformat=${Version}", "lineside")


async def configure(system: BootedSystem, folder: Path, broker: Mosquitto) -> None:
    """Configure gateway and ingest, with a secret and a simulated press."""
    file = write_factory(
        folder / "factory.yaml",
        gateway={"id": "edge-01", "spool": {"folder": "/var/lib/lineside"}},
        broker={"url": broker.url, "username": "edge-01", "password": {"secret": "broker_password"}},
        ingest={"folder": "/var/lib/lineside"},
        stores=[{"sqlite": {"path": "/var/lib/lineside/readings.db"}}],
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
    secret = system.root / "etc/lineside/secrets/broker_password"
    secret.touch(mode=0o600)
    secret.write_text("s3cret\n", encoding="utf-8")


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
