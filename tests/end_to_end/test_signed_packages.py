"""The signature of the packages: the commands of docs/supply-chain.md make it, and find what was changed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from packages import build, only

ROOT = Path(__file__).parents[2]


def blocks() -> tuple[list[str], list[str]]:
    """Return the documented commands of who builds the packages, and of who checks them."""
    page = (ROOT / "docs" / "supply-chain.md").read_text(encoding="utf-8")
    _, _, section = page.partition("\n## Sign a release\n")
    made, checked = re.findall(r"```sh\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)
    return made.splitlines(), checked.splitlines()


def codes(commands: list[str], folder: Path) -> list[int]:
    """Run commands in a folder; return their exit codes."""
    return [
        subprocess.run(shlex.split(one), check=False, cwd=folder, capture_output=True).returncode for one in commands
    ]


def release(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, str(ROOT / "tools" / "release"), *arguments]
    return subprocess.run(line, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a key as documented, and a signed wheel."""
    out = tmp_path_factory.mktemp("signed")
    made, _ = blocks()
    assert codes(made[:2], out) == [0, 0]
    assert made[2:] == ["make package SIGN_KEY=release.pem DATABASE=/srv/mirror/osv-pypi"]
    build(out, "wheel", "--sign-key", str(out / "release.pem"), "--unchecked")
    (out / "release.pem").unlink()  # the plant does not have it
    return out


def test_a_package_as_it_was_built_passes(signed: Path) -> None:
    assert len((signed / "SHA256SUMS.sig").read_bytes()) == 64
    assert codes(blocks()[1], signed) == [0, 0]


def test_a_changed_package_is_found_by_the_documented_commands(signed: Path) -> None:
    """A person on the way of the packages can change the checksums, too, but not sign them."""
    _, checks = blocks()
    wheel, sums, signature = only(signed, "*.whl"), signed / "SHA256SUMS", signed / "SHA256SUMS.sig"
    content, listed, made = wheel.read_bytes(), sums.read_bytes(), signature.read_bytes()
    try:
        wheel.write_bytes(content + b"\0")
        assert [code != 0 for code in codes(checks, signed)] == [False, True]
        changed = subprocess.run(["sha256sum", wheel.name], check=True, cwd=signed, capture_output=True).stdout
        assert changed != listed
        sums.write_bytes(changed)
        assert [code != 0 for code in codes(checks, signed)] == [True, False]
        signature.write_bytes(Ed25519PrivateKey.generate().sign(changed))
        assert [code != 0 for code in codes(checks, signed)] == [True, False]
    finally:
        wheel.write_bytes(content)
        sums.write_bytes(listed)
        signature.write_bytes(made)


def test_a_build_without_a_key_leaves_no_signature_of_an_earlier_build(tmp_path: Path) -> None:
    """A signature beside other checksums would look like a changed package."""
    (tmp_path / "SHA256SUMS.sig").write_bytes(b"of an earlier build")
    build(tmp_path, "wheel")
    assert sorted(path.suffix for path in tmp_path.iterdir() if path.is_file()) == ["", ".whl"]


def test_make_gives_the_key_to_the_build() -> None:
    line = ["make", "--dry-run", "--no-print-directory", "package"]
    with_key = subprocess.run(
        [*line, "SIGN_KEY=a b.pem"], check=True, cwd=ROOT, capture_output=True, text=True
    ).stdout
    assert "tools/release --sign-key 'a b.pem'\n" in with_key
    assert "--sign-key" not in subprocess.run(line, check=True, cwd=ROOT, capture_output=True, text=True).stdout


@pytest.mark.parametrize("kind", ["missing", "text", "elliptic", "locked"])
def test_a_key_that_can_not_sign_is_said_before_the_build(tmp_path: Path, kind: str) -> None:
    file, out = tmp_path / "release.pem", tmp_path / "out"
    pem, form = Encoding.PEM, PrivateFormat.PKCS8
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(pem, form, NoEncryption())
    locked = Ed25519PrivateKey.generate().private_bytes(pem, form, BestAvailableEncryption(b"hunter2"))
    content = {"text": b"secret text", "elliptic": key, "locked": locked}
    if kind in content:
        file.write_bytes(content[kind])
    ran = release("wheel", "--out", str(out), "--sign-key", str(file), "--unchecked")
    expected = {
        "missing": "No such file", "text": "not a PEM file", "elliptic": "not a key of Ed25519", "locked": "locked",
    }  # fmt: skip
    assert ran.returncode == 1
    assert ran.stderr.startswith(f"tools/release: {file}: ")
    assert expected[kind] in ran.stderr
    assert "secret text" not in ran.stderr
    assert not out.exists()
