"""Wheels: that of this tree, and those of its dependencies for another Python or processor."""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import NamedTuple

from archive import digest
from packaging.markers import Marker
from project import NAME, REQUIREMENTS, ROOT, run, version

MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Debian's name of a processor -> that of wheels."""

GLIBC = (28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 12, 5)
"""Minor versions of glibc 2 that wheels may need: Debian 10 has 2.28. Names of PEP 600, which pip does not derive."""

OLDER_NAMES = ("2014", "2010", "1")
"""The names of manylinux before PEP 600."""


class Target(NamedTuple):
    """Where wheels are installed: a Python such as `3.11`, and a processor as Debian names it."""

    python: str
    architecture: str

    @property
    def tag(self) -> str:
        """The tag of this CPython, such as `cp311`."""
        return f"cp{self.python.replace('.', '')}"

    def options(self) -> list[str]:
        """Return the options of pip that select wheels for this target."""
        machine = MACHINES[self.architecture]
        platforms = [f"manylinux_2_{minor}_{machine}" for minor in GLIBC]
        platforms += [f"manylinux{name}_{machine}" for name in OLDER_NAMES]
        return [
            "--only-binary", ":all:", "--no-deps", "--python-version", self.python, "--implementation", "cp",
            *(word for abi in (self.tag, "abi3", "none") for word in ("--abi", abi)),
            *(word for platform in platforms for word in ("--platform", platform)),
        ]  # fmt: skip


def pip(*arguments: str | Path) -> None:
    """Run pip. Raises `SystemExit`."""
    run(sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments)


def build_wheel(out: Path) -> Path:
    """Build the wheel of this tree in a folder."""
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", out.resolve())
    return out / f"{NAME}-{version()}-py3-none-any.whl"


def dependencies(target: Target, cache: Path) -> list[Path]:
    """Return the wheels of all dependencies for a target, which are downloaded if the cache lacks them.

    pip verifies each hash. The cache is by the content of the requirements, so it never is too old.
    """
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:16]
    folder = cache / digest / f"{target.tag}-{target.architecture}"
    if not folder.exists():
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        listed = partial / "requirements.txt"
        listed.write_text(requirements_for(target), encoding="utf-8")
        pip("download", "--require-hashes", "-r", listed, "--dest", partial, *target.options())
        partial.rename(folder)
    return sorted(folder.glob("*.whl"))


def requirements_for(target: Target) -> str:
    """Return the requirements of a target without markers: pip would apply them to the Python that runs it."""
    environment = {
        "python_version": target.python,
        "python_full_version": f"{target.python}.0",
        "platform_machine": MACHINES[target.architecture],
    }
    entries = re.findall(r"^\S.*(?:\n\s.*)*", REQUIREMENTS.read_text(encoding="utf-8"), re.MULTILINE)
    kept = []
    for entry in entries:
        requirement, _, hashes = entry.partition(" \\\n")
        pin, _, marker = requirement.partition(";")
        if not marker or Marker(marker.strip()).evaluate(environment):
            kept.append(f"{pin.strip()} \\\n{hashes}")
    return "\n".join(kept) + "\n"


def install(wheel: Path, target: Target, cache: Path, folder: Path) -> None:
    """Install the wheel of this tree and its dependencies into a folder of packages, for any target.

    Nothing is compiled, and no network is needed. Packages are named, and not their files, whose names would be noted
    in the environment, with the folders of this machine.
    """
    wheels = dependencies(target, cache)
    listed = requirements_for(target) + f"{NAME}=={version()} --hash=sha256:{digest(wheel)}\n"
    with NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write(listed)
        file.flush()
        run(
            sys.executable, "-m", "uv", "pip", "install", "--quiet", "--offline", "--no-config",
            "--cache-dir", cache / "uv", "--link-mode", "copy", "--no-index",
            "--find-links", wheels[0].parent, "--find-links", wheel.parent, "--no-deps", "--require-hashes",
            "--python", sys.executable, "--python-version", target.python,
            "--python-platform", f"{MACHINES[target.architecture]}-manylinux_2_28",
            "--target", folder, "--requirement", file.name,
        )  # fmt: skip
    shutil.rmtree(folder / "bin", ignore_errors=True)  # scripts that name the Python of this machine


def own_pip() -> Path:
    """Return the wheel of pip that comes with this Python, for boxes that have none."""
    import ensurepip  # noqa: PLC0415 - not a part of each Python
    import sysconfig  # noqa: PLC0415 - as above

    folders = [Path(ensurepip.__file__).parent / "_bundled", Path(sysconfig.get_config_var("WHEEL_PKG_DIR") or ROOT)]
    for folder in folders:
        if wheels := sorted(folder.glob("pip-*.whl")):
            return wheels[-1]
    raise SystemExit("this Python comes without pip; install its package python3-venv")
