"""The bundle for boxes without a network: wheels for several Pythons and processors, and a script for them."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from archive import digest, pack
from project import NAME, ROOT, version
from wheels import MACHINES, own_pip

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from components import Component
    from wheels import Target


def build_bundle(
    out: Path, found: Sequence[Component], documents: Mapping[str, str], targets: Sequence[Target]
) -> Path:
    """Build the bundle from components, of which each has the wheels for all targets; return its file."""
    file = out / f"{NAME}-{version()}-bundle.tar"
    with TemporaryDirectory(prefix="lineside-bundle-") as temporary:
        folder = Path(temporary) / f"{NAME}-{version()}"
        for wheel in (wheel for component in found for wheel in component.wheels):
            _copy(wheel, folder / "wheels" / wheel.name)
        _copy(own_pip(), folder / own_pip().name)  # Python runs it as it is: a wheel is a zip archive
        for one in sorted((ROOT / "deploy" / "systemd").iterdir()):
            _copy(one, folder / "systemd" / one.name)
        for name in ("LICENSE", "NOTICE"):
            _copy(ROOT / name, folder / name)
        texts = {
            **documents,
            "VERSION": f"{version()}\n",
            "TARGETS": "".join(f"{target.tag} {MACHINES[target.architecture]}\n" for target in targets),
            "requirements.txt": _requirements(found),
        }
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        shutil.copyfile(ROOT / "deploy" / "bundle" / "install.sh", folder / "install.sh")
        (folder / "install.sh").chmod(0o755)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        sums = "".join(f"{digest(path)}  {path.relative_to(folder)}\n" for path in files)
        (folder / "SHA256SUMS").write_text(sums, encoding="utf-8")
        pack(folder, file)
    return file


def _requirements(found: Sequence[Component]) -> str:
    """Return the list for pip: each component with the hashes of its wheels."""
    text = ""
    for component in found:
        hashes = sorted({digest(wheel) for wheel in component.wheels})
        text += " \\\n    ".join(
            [f"{component.name}=={component.version}", *(f"--hash=sha256:{one}" for one in hashes)]
        )
        text += "\n"
    return text


def _copy(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, to)
