"""The Debian package: an environment of its own in /opt/lineside, with units, manual pages and completion."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from archive import compress, set_times_and_modes
from installed_files import write_manifest
from manual_pages import bash_completion, manual_pages
from project import NAME, NOT_IN_PRODUCTION, ROOT, run, version
from wheels import install

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from wheels import Target

RELEASES = {"3.11": "deb12", "3.12": "ubuntu24.04", "3.13": "deb13"}
"""A Python -> the release whose python3 it is; an environment belongs to one Python."""

DEPLOY = ROOT / "deploy"

NOTE = "uv_cache.json"
"""A file of uv about the wheel that a package was installed from, with the time of that file."""

COMMAND = """\
#!/opt/lineside/bin/python3 -sP
import sys

from gateway.cli import main

sys.exit(main())
"""
"""/usr/bin/lineside: without packages of the user (-s), and without the folder of the script (-P)."""


def build_debian_package(
    out: Path,
    wheel: Path,
    cache: Path,
    documents: dict[str, str],
    target: Target,
    revision: int,
    key: Ed25519PrivateKey | None = None,
) -> Path:
    """Build the package for a target from the wheel of Lineside and its dependencies in the cache; return its file.

    `documents` are texts for /usr/share/doc/lineside, by name; `key` signs the manifest of its files.
    """
    number = f"{version()}-{revision}~{RELEASES[target.python]}"
    with TemporaryDirectory(prefix="lineside-deb-") as temporary:
        root = Path(temporary) / "root"
        _environment(root / "opt" / NAME, wheel, cache, target)
        _system_files(root)
        _documents(root / "usr" / "share", documents)
        write_manifest(root / "opt" / NAME, root, key)
        _control(root, number, target)
        set_times_and_modes(root)
        file = out / f"{NAME}_{number}_{target.architecture}.deb"
        # one thread: the number of threads changes the bytes
        run("dpkg-deb", "--root-owner-group", "-Zzstd", "-z9", "--threads-max=1", "--build", root, file.resolve())
    return file


def _environment(folder: Path, wheel: Path, cache: Path, target: Target) -> None:
    """Make a virtual environment of the system's Python without running it: it may be that of another processor."""
    packages = folder / "lib" / f"python{target.python}" / "site-packages"
    packages.parent.mkdir(parents=True)
    install(wheel, target, cache, packages)
    without(packages, NOT_IN_PRODUCTION)
    (folder / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n", encoding="utf-8")
    (folder / "bin").mkdir()
    (folder / "bin" / "python3").symlink_to(f"/usr/bin/python{target.python}")
    (folder / "bin" / "python").symlink_to("python3")
    command = folder / "bin" / NAME
    command.write_text(COMMAND, encoding="utf-8")
    command.chmod(0o755)


def without(packages: Path, left_out: Sequence[str]) -> None:
    """Remove packages of ours from an environment, and notes about its installation; from the lists of files too."""
    for name in left_out:
        shutil.rmtree(packages / name)
    for record in packages.glob("*.dist-info/RECORD"):
        (record.parent / NOTE).unlink(missing_ok=True)
        lines = record.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if (packages / line.rpartition(",")[0].rpartition(",")[0]).exists()]
        record.write_text("".join(kept), encoding="utf-8")


def _system_files(root: Path) -> None:
    units = root / "usr" / "lib" / "systemd" / "system"
    for unit in (DEPLOY / "systemd").glob("*.service"):
        _copy(unit, units / unit.name)
    _copy(DEPLOY / "systemd" / "lineside.sysusers", root / "usr/lib/sysusers.d/lineside.conf")
    _copy(DEPLOY / "systemd" / "lineside.tmpfiles", root / "usr/lib/tmpfiles.d/lineside.conf")
    _copy(DEPLOY / "debian" / "factory.yaml", root / "etc/lineside/factory.yaml")
    update = root / "usr" / "sbin" / "lineside-update"
    _copy(DEPLOY / "lineside-update", update)
    update.chmod(0o755)
    command = root / "usr" / "bin" / NAME
    command.parent.mkdir(parents=True)
    command.symlink_to(f"/opt/{NAME}/bin/{NAME}")


def _documents(share: Path, documents: dict[str, str]) -> None:
    own, manual = share / "doc" / NAME, share / "man" / "man1"
    for folder in (own, manual, share / "bash-completion" / "completions"):
        folder.mkdir(parents=True)
    for name, text in documents.items():
        if name.endswith(".txt"):
            (own / f"{name}.gz").write_bytes(compress(text))
        else:
            (own / name).write_text(text, encoding="utf-8")
    _copy(DEPLOY / "debian" / "copyright", own / "copyright")
    _copy(ROOT / "NOTICE", own / "NOTICE")
    _copy(DEPLOY / "apparmor" / "lineside-services", own / "apparmor" / "lineside-services")
    (own / "changelog.gz").write_bytes(compress((ROOT / "CHANGELOG.md").read_text(encoding="utf-8")))
    for name, text in manual_pages().items():
        (manual / f"{name}.gz").write_bytes(compress(text))
    (share / "bash-completion" / "completions" / NAME).write_text(bash_completion(), encoding="utf-8")


def _control(root: Path, number: str, target: Target) -> None:
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    major, minor = target.python.split(".")
    values = {
        "VERSION": number,
        "ARCHITECTURE": target.architecture,
        "SIZE": str(size // 1024),
        "PYTHON": target.python,
        "NEXT_PYTHON": f"{major}.{int(minor) + 1}",
    }
    folder = root / "DEBIAN"
    folder.mkdir()
    text = (DEPLOY / "debian" / "control").read_text(encoding="utf-8")
    filled = re.sub(r"@(\w+)@", lambda match: values[match[1]], text)
    (folder / "control").write_text(filled, encoding="utf-8")
    for name in ("conffiles", "templates"):
        _copy(DEPLOY / "debian" / name, folder / name)
    for name in ("postinst", "prerm", "postrm"):
        _copy(DEPLOY / "debian" / name, folder / name)
        (folder / name).chmod(0o755)


def _copy(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, to)
