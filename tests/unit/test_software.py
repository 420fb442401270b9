"""The installed software: files that were changed, removed or added are named, and who vouches for them is said."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import marshal
import os
import py_compile
import shutil
import subprocess
import sys
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from processes import write_factory
from rights import with_policy

from gateway import __version__
from gateway.common.public_keys import public_text
from gateway.settings.policy import VARIABLE, Untrusted, read_policy
from gateway.software import release_keys as keys_module
from gateway.software import required
from gateway.software.compiled import HEADER_BYTES
from gateway.software.installation import NotInstalled, installation
from gateway.software.integrity import software_problems, statement
from gateway.software.manifest import BadManifest, format_manifest, parse_manifest
from gateway.software.release_keys import ReleaseKeys, UnusableKeys, read_keys, release_keys
from gateway.software.required import require_software

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__)

NOBODY = ReleaseKeys(Path("/etc/lineside/release.pub"), ())

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
OURS = ReleaseKeys(Path("/etc/lineside/release.pub"), (public_text(KEY.public_key()),))


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


class Tree:
    """An installation of two modules, one of them compiled, with a command."""

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self.packages = prefix / "lib" / "python3" / "site-packages"
        self.one, self.two = self.packages / "gateway" / "one.py", self.packages / "two.py"
        self.command = prefix / "bin" / "lineside"
        self.one.parent.mkdir(parents=True)
        self.command.parent.mkdir()
        self.one.write_text("LIMIT = 5\n\n\ndef allowed(number):\n    return number < LIMIT\n")
        self.two.write_text("import gateway\n")
        self.command.write_text("#!/bin/sh\n")
        (prefix / "bin" / "python3").symlink_to(sys.executable)
        self.compiled = Path(importlib.util.cache_from_source(str(self.one)))
        self.compile(self.one)

    def compile(self, source: Path, into: Path | None = None) -> None:
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH  # as the package: the source is not looked at
        py_compile.compile(str(source), str(into or self.compiled), doraise=True, invalidation_mode=mode)

    def make_manifest(self, version: str = __version__, key: Ed25519PrivateKey | None = KEY) -> None:
        files = [self.one, self.two, self.command]
        digests = {str(one.relative_to(self.prefix)): sha256(one) for one in files}
        content = format_manifest(version, digests)
        (self.prefix / "SHA256SUMS").write_bytes(content)
        if key is not None:
            (self.prefix / "SHA256SUMS.sig").write_bytes(key.sign(content))

    def make_record(self) -> None:
        folder = self.packages / "lineside-1.0.dist-info"
        folder.mkdir()
        rows = ["lineside-1.0.dist-info/RECORD,,", "gateway/__pycache__/one.cpython-311.pyc,,"]
        (folder / "METADATA").write_text("Name: lineside\n")
        for file in (self.one, self.two, self.command, folder / "METADATA"):
            digest = urlsafe_b64encode(hashlib.sha256(file.read_bytes()).digest()).decode().rstrip("=")
            rows.append(f"{os.path.relpath(file, self.packages)},sha256={digest},{file.stat().st_size}")
        (folder / "RECORD").write_text("\n".join(rows) + "\n")

    def problems(self, keys: ReleaseKeys = OURS) -> list[str]:
        return list(software_problems(installation(self.packages, self.prefix), keys, pause=0.0))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    made = Tree(tmp_path / "opt")
    made.make_manifest()
    return made


def test_software_as_it_was_built_has_no_problem(tree: Tree) -> None:
    assert tree.problems() == []
    said = statement(installation(tree.packages, tree.prefix), OURS)
    assert (
        said
        == f"3 files are as they were built for version {__version__}, and signed with a release key of "
        + str(OURS.place)
    )


def test_the_manifest_is_one_that_sha256sum_reads(tree: Tree) -> None:
    """A person can check a box without the software of the box."""
    line = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    assert subprocess.run(line, check=False, cwd=tree.prefix, capture_output=True).returncode == 0
    tree.two.write_text("changed")
    assert subprocess.run(line, check=False, cwd=tree.prefix, capture_output=True).returncode == 1


def change(tree: Tree) -> Path:
    tree.one.write_text(tree.one.read_text().replace("5", "6"))
    return tree.one


def remove(tree: Tree) -> Path:
    tree.two.unlink()
    return tree.two


def add(tree: Tree) -> Path:
    file = tree.packages / "three.py"
    file.write_text("")
    return file


def add_start_up_code(tree: Tree) -> Path:
    """Python runs a line of such a file at each start."""
    file = tree.packages / "three.pth"
    file.write_text("import os\n")
    return file


def add_compiled(tree: Tree) -> Path:
    """Without a source: Python imports it under its name."""
    file = tree.packages / "three.pyc"
    tree.compile(tree.two, file)
    return file


def add_package_of_others(tree: Tree) -> Path:
    """A link leads to a folder that others may write."""
    folder = tree.packages / "others"
    folder.symlink_to("/tmp")  # noqa: S108 - the name of a link
    return folder


def add_command(tree: Tree) -> Path:
    file = tree.prefix / "bin" / "lineside-other"
    file.write_text("#!/bin/sh\n")
    return file


def replace_by_link(tree: Tree) -> Path:
    moved = tree.prefix / "elsewhere"
    tree.two.rename(moved)
    tree.two.symlink_to(moved)
    return tree.two


def change_compiled(tree: Tree) -> Path:
    """The source is as it was; Python runs the other code."""
    other = tree.prefix / "other.py"
    other.write_text(tree.one.read_text().replace("<", ">"))
    tree.compile(other)
    return tree.compiled


def damage_compiled(tree: Tree) -> Path:
    tree.compiled.write_bytes(tree.compiled.read_bytes()[:-5])
    return tree.compiled


def compile_something_else(tree: Tree) -> Path:
    head = tree.compiled.read_bytes()[:HEADER_BYTES]
    tree.compiled.write_bytes(head + marshal.dumps("no code"))
    return tree.compiled


CHANGES = (
    change, remove, add, add_start_up_code, add_compiled, add_package_of_others, add_command, replace_by_link,
    change_compiled, damage_compiled, compile_something_else,
)  # fmt: skip


@pytest.mark.parametrize("act", CHANGES)
def test_a_changed_missing_or_additional_file_is_named(tree: Tree, act: Callable[[Tree], Path]) -> None:
    file = act(tree)
    (problem,) = tree.problems()
    assert problem.startswith(f"{file} ")
    assert f"install version {__version__} again" in problem


def test_files_of_python_and_compiled_files_of_other_versions_are_no_problem(tree: Tree) -> None:
    (tree.prefix / "bin" / "activate.fish").write_text("")
    tree.compiled.with_name("one.cpython-39.pyc").write_bytes(b"of another Python")
    assert tree.problems() == []


def test_a_manifest_without_a_right_signature_is_named(tree: Tree) -> None:
    """A person who changes a file can change the list, too, but not sign it."""
    change(tree)
    tree.compile(tree.one)
    tree.make_manifest(key=None)
    assert ["is not the signature of SHA256SUMS by a release key" in one for one in tree.problems()] == [True]
    tree.make_manifest(key=Ed25519PrivateKey.generate())
    assert ["is not the signature" in one for one in tree.problems()] == [True]
    (tree.prefix / "SHA256SUMS.sig").write_bytes(b"x" * 100)
    assert ["is not the signature" in one for one in tree.problems()] == [True]
    (tree.prefix / "SHA256SUMS.sig").unlink()
    assert ["is not signed" in one for one in tree.problems()] == [True]
    assert tree.problems(NOBODY) == []
    said = statement(installation(tree.packages, tree.prefix), NOBODY)
    assert "from their builder is not known: there is no release key (/etc/lineside/release.pub)" in said


def test_the_manifest_of_another_version_is_named(tree: Tree) -> None:
    tree.make_manifest("0.0.9")
    (problem,) = tree.problems()
    assert f"is of version 0.0.9, and {__version__} runs" in problem


@pytest.mark.parametrize("content", ["", "nonsense", "# lineside 1\nnonsense\n", "# lineside 1\n\n"])
def test_a_damaged_manifest_is_named(tree: Tree, content: str) -> None:
    (tree.prefix / "SHA256SUMS").write_text(content)
    with pytest.raises(BadManifest, match=r"line [12] is not"):
        tree.problems()


@pytest.mark.fuzz
@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda more: b"# lineside 1\n" + more))
def test_any_bytes_are_a_manifest_or_a_documented_error(content: bytes) -> None:
    try:
        found = parse_manifest(content)
    except BadManifest:
        return
    assert parse_manifest(format_manifest(*found)) == found


def test_an_installation_of_pip_is_compared_with_its_records(tmp_path: Path) -> None:
    """Integrity alone: who changes a file can change the record, too, and that is said."""
    tree = Tree(tmp_path / "venv")
    tree.make_record()
    (tree.packages / "_virtualenv.py").write_text("")  # of a tool that makes environments
    assert tree.problems(NOBODY) == []
    assert "from their builder is not known" in statement(installation(tree.packages, tree.prefix), NOBODY)
    assert ["has no manifest that" in one for one in tree.problems()] == [True]
    changed = [act(tree) for act in (change, remove, add, change_compiled)]
    assert sorted(one.split()[0] for one in tree.problems(NOBODY)) == sorted(str(one) for one in changed[:3]), (
        "a compiled file is not compared with a changed source"
    )


def test_a_record_that_is_none_is_named(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "venv")
    tree.make_record()
    (tree.packages / "lineside-1.0.dist-info" / "RECORD").write_bytes(b"gateway/one.py,sha256=\xff,1\n")
    with pytest.raises(BadManifest, match="RECORD is not a record of installed files"):
        tree.problems(NOBODY)


def test_a_source_tree_is_no_installation(tmp_path: Path) -> None:
    with pytest.raises(NotInstalled):
        installation(Tree(tmp_path / "tree").packages, tmp_path / "tree")
    with pytest.raises(NotInstalled):
        installation()


def pem(key: Ed25519PrivateKey) -> str:
    return f"-----BEGIN PUBLIC KEY-----\n{public_text(key.public_key())}\n-----END PUBLIC KEY-----\n"


def test_a_file_has_the_present_and_the_next_key() -> None:
    other = Ed25519PrivateKey.generate()
    text = f"the key of 2026\n{pem(KEY)}and the next\n{pem(other)}{pem(KEY)}"
    assert read_keys(text, HERE) == (OURS.keys[0], public_text(other.public_key()))
    with pytest.raises(UnusableKeys, match="is not a public key of Ed25519"):
        read_keys("nonsense", HERE)
    with pytest.raises(UnusableKeys, match="has more than 20 keys"):
        read_keys(pem(KEY) * 21, HERE)


@with_policy
def test_keys_that_others_could_exchange_do_not_count(tmp_path: Path) -> None:
    file = tmp_path / "release.pub"
    file.write_text(pem(KEY))
    assert release_keys(None, file).keys == OURS.keys
    file.chmod(0o666)
    with pytest.raises(UnusableKeys, match="others than root can write it"):
        release_keys(None, file)
    file.unlink()
    with pytest.raises(UnusableKeys, match="can't be read"):
        release_keys(None, file)


@with_policy
def test_a_policy_that_requires_the_software_refuses_what_nobody_vouches_for(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tmp_path / "policy.yaml"
    monkeypatch.setenv(VARIABLE, str(policy))
    monkeypatch.setattr(required, "installation", lambda: installation(tree.packages, tree.prefix))
    monkeypatch.setattr(keys_module, "FILE", tmp_path / "release.pub")

    def refusals(text: str) -> list[str]:
        policy.write_text(f"format: 1\n{text}")
        try:
            require_software(read_policy())
        except Untrusted as error:
            return [str(one) for one in error.problems]
        return []

    keys = f"release_keys: {{builder: {OURS.keys[0]}}}"
    assert refusals(f"software: required\n{keys}\n") == []
    assert ["there is no release key; add release_keys" in one for one in refusals("software: required\n")] == [True]
    (tmp_path / "release.pub").write_text(pem(KEY))
    assert refusals("software: required\n") == []
    file = change(tree)
    (refusal,) = refusals(f"software: required\n{keys}\n")
    assert refusal.startswith(f"{policy}:1:1: software: {file} was changed")
    assert refusals(keys) == [], "without the key it is reported, and the service starts"
    (tree.prefix / "SHA256SUMS").unlink()
    assert ["this is a source tree" in one for one in refusals("software: required\n")] == [True]


def test_the_self_test_of_an_environment_of_a_wheel_names_a_changed_file(tmp_path: Path) -> None:
    """As `pip install lineside` leaves it: the real command, in an environment of its own."""
    prefix = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", prefix], check=True)
    packages = next(prefix.glob("lib/python*/site-packages"))
    root = HERE.parents[2]
    rows = []
    sources = [path for name in ("gateway", "drivers", "config") for path in (root / name).rglob("*")]
    for source in sources:
        if source.is_file() and "__pycache__" not in source.parts:
            name = str(source.relative_to(root))
            name = f"gateway/bundled/{name.removeprefix('config/')}" if name.startswith("config/") else name
            to = packages / name
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, to)
            digest = urlsafe_b64encode(hashlib.sha256(source.read_bytes()).digest()).decode().rstrip("=")
            rows.append(f"{name},sha256={digest},")
    (packages / "lineside-0.dist-info").mkdir()
    (packages / "lineside-0.dist-info" / "METADATA").write_text("Name: lineside\n")
    digest = urlsafe_b64encode(hashlib.sha256(b"Name: lineside\n").digest()).decode().rstrip("=")
    rows.append(f"lineside-0.dist-info/METADATA,sha256={digest},")
    (packages / "lineside-0.dist-info" / "RECORD").write_text("\n".join([*rows, "lineside-0.dist-info/RECORD,,"]))
    dependencies = [one for one in sys.path if one.endswith("site-packages")]
    code = f"import sys; sys.path += {dependencies!r}; from gateway.cli import main; main()"
    line = [prefix / "bin" / "python3", "-P", "-c", code, "self-test", "factory.yaml", "--format", "json"]
    broker = {"url": "mqtts://broker.example"}
    write_factory(tmp_path / "factory.yaml", broker=broker, lines={"line": {"area": "area", "machines": {"m-01": {
        "template": "curing-press", "connection": "modbus+tcp://127.0.0.1:1"}}}})  # fmt: skip

    def outcome() -> dict[str, object]:
        environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
        ran = subprocess.run(line, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert ran.stdout, ran.stderr
        (found,) = (one for one in json.loads(ran.stdout)["outcomes"] if one["check"] == "software")
        return dict(found)

    found = outcome()
    assert (found["result"], found["problems"]) == ("passed", [])
    assert "installed by pip; that they are from their builder is not known" in str(found["notes"])
    changed = packages / "gateway" / "spool" / "spool.py"
    changed.write_text(changed.read_text() + "# changed\n")
    found = outcome()
    assert found["result"] == "failed"
    assert str(found["problems"]).startswith(f"['{changed} was changed; install version {__version__} again")
