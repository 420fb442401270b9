"""The bundle for boxes without a network: wheels for several Pythons and processors, and a script for them."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from archive import digest, pack
from installed_files import wheel_files, write_signed
from project import NAME, ROOT, version
from signature import write_signature
from wheels import MACHINES, own_pip

from gateway.software.manifest import MANIFEST, SIGNATURE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from components import Component
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from wheels import Target


def build_bundle(
    out: Path,
    found: Sequence[Component],
    documents: Mapping[str, str],
    wheels: Mapping[Target, Sequence[Path]],
    key: Ed25519PrivateKey | None = None,
) -> Path:
    """Build the bundle from components, of which each has the wheels for all targets; return its file.

    `wheels` are those of each target; `key` signs the manifests of their files, and the checksums of the bundle.
    """
    file = out / f"{NAME}-{version()}-bundle.tar"
    with TemporaryDirectory(prefix="lineside-bundle-") as temporary:
        folder = Path(temporary) / f"{NAME}-{version()}"
        for wheel in (wheel for component in found for wheel in component.wheels):
            _copy(wheel, folder / "wheels" / wheel.name)
        _copy(own_pip(), folder / own_pip().name)  # Python runs it as it is: a wheel is a zip archive
        for one in sorted(path for name in ("systemd", "apparmor") for path in (ROOT / "deploy" / name).iterdir()):
            _copy(one, folder / one.parent.name / one.name)
        for name in ("LICENSE", "NOTICE"):
            _copy(ROOT / name, folder / name)
        texts = {
            **documents,
            "VERSION": f"{version()}\n",
            "TARGETS": "".join(f"{target.tag} {MACHINES[target.architecture]}\n" for target in wheels),
            "requirements.txt": _requirements(found),
        }
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        for name in ("bundle/install.sh", f"bundle/{NAME}", "lineside-update"):
            script = folder / Path(name).name
            shutil.copyfile(ROOT / "deploy" / name, script)
            script.chmod(0o755)
        for target, files in wheels.items():
            _manifest(folder, target, files, key)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        sums = "".join(f"{digest(path)}  {path.relative_to(folder)}\n" for path in files)
        (folder / "SHA256SUMS").write_text(sums, encoding="utf-8")
        write_signature(folder / "SHA256SUMS", key)
        pack(folder, file)
    return file


def _manifest(folder: Path, target: Target, wheels: Sequence[Path], key: Ed25519PrivateKey | None) -> None:
    """Write the manifest of the files that the bundle installs for a target."""
    files = wheel_files(wheels, f"lib/python{target.python}/site-packages")
    files[f"bin/{NAME}"] = digest(folder / NAME)
    place = folder / "manifests" / f"{target.tag}-{MACHINES[target.architecture]}"
    write_signed(place / MANIFEST, place / SIGNATURE, files, key)


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
