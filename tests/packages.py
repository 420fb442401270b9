"""The packages that `make package` builds, for the Python of the tests."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

ROOT = Path(__file__).parents[1]

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The Python that the packages are for."""

SECOND = "second"
"""The folder with the next revision of the Debian package."""

DEBCONF = {"DEBIAN_FRONTEND": "noninteractive", "DEBCONF_NONINTERACTIVE_SEEN": "true"}
"""Variables with which a package asks nothing."""


def build(out: Path, *what: str) -> dict[str, str]:
    """Build packages for this Python; return the checksums by file name."""
    line = [sys.executable, str(ROOT / "tools" / "release"), *what, "--out", str(out), "--python", PYTHON]
    ran = subprocess.run(line, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    sums = (out / "SHA256SUMS").read_text(encoding="utf-8")
    return {name: digest for digest, name in (line.split("  ") for line in sums.splitlines())}


RELEASE_KEY, PUBLIC_KEY, NEXT_PUBLIC_KEY = "release.pem", "release.pub", "release-next.pub"
"""The files beside the folder of packages: the key that has signed them, its public key, and the next public key."""


def make_keys(folder: Path) -> list[str]:
    """Make the keys of a release in a folder; return the options of a build that is signed with them."""
    pem, raw = Encoding.PEM, NoEncryption()
    key, later = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    (folder / RELEASE_KEY).write_bytes(key.private_bytes(pem, PrivateFormat.PKCS8, raw))
    for name, one in ((PUBLIC_KEY, key), (NEXT_PUBLIC_KEY, later)):
        public = one.public_key().public_bytes(pem, PublicFormat.SubjectPublicKeyInfo)
        (folder / name).write_bytes(public)
    return signing(folder)


def signing(folder: Path) -> list[str]:
    """Return the options of a build that is signed with the keys in a folder."""
    return ["--sign-key", str(folder / RELEASE_KEY), "--next-key", str(folder / NEXT_PUBLIC_KEY), "--unchecked"]


def build_once(shared: Path) -> Path:
    """Return the folder of all packages, signed, which one of the workers of a run builds for the others."""
    out = shared / "dist"
    with (shared / "dist.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (out / "SHA256SUMS").exists():
            signed = make_keys(shared)
            build(out / SECOND, "debian", "--revision", "2", "--architecture", architecture(), *signed)
            build(out, *signed)
    return out


def only(folder: Path, pattern: str) -> Path:
    """Return the single file of a folder that matches."""
    (found,) = folder.glob(pattern)
    return found


def system_python() -> str:
    """Return the version of the system's Python, which a Debian package is for."""
    said = subprocess.run(["/usr/bin/python3", "-V"], check=True, capture_output=True, text=True).stdout
    return ".".join(said.split()[1].split(".")[:2])


def architecture() -> str:
    """Return this processor, as Debian names it."""
    line = ["dpkg", "--print-architecture"]
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout.strip()
