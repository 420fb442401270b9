"""`lineside update`, also as `lineside-update`: install a newer package, after its signature was checked."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from gateway import __version__
from gateway.cli.output import echo

if TYPE_CHECKING:
    from gateway.software.delivery import Delivery
    from gateway.software.release_keys import ReleaseKeys

BUNDLE = "-bundle.tar"
"""The ending of the name of a bundle."""

MOST_VERSION = 200
"""Characters of the file with the version of a bundle."""

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("package", type=_FILE)
@click.option("--key", type=_FILE, help="The release key, in place of that of this machine.")
@click.option("--check", is_flag=True, help="Check the package, and install nothing.")
@click.option("--downgrade", is_flag=True, help="Install it although a newer version is installed.")
@click.option("--unsigned", is_flag=True, help="Install it although nobody vouches for it.")
def update(package: Path, key: Path | None, *, check: bool, downgrade: bool, unsigned: bool) -> None:
    """Check the signature of PACKAGE, a Debian package or the bundle, and install it.

    SHA256SUMS and SHA256SUMS.sig of the release are beside it. The release key is that of the policy, or of
    /etc/lineside/release.pub. Exits with 1, and changes nothing, if the package is not one to install.
    """
    from gateway.settings.policy import Untrusted, read_policy  # noqa: PLC0415 - see gateway.cli
    from gateway.software.delivery import Refused  # noqa: PLC0415 - see gateway.cli
    from gateway.software.release_keys import UnusableKeys, release_keys  # noqa: PLC0415 - see gateway.cli

    if not check and os.geteuid() != 0:
        raise click.ClickException("run it as root, or check the package alone with --check")
    try:
        keys = release_keys(read_policy(), key)
        with TemporaryDirectory(prefix="lineside-update-") as folder:
            _update(package, keys, Path(folder), check=check, downgrade=downgrade, unsigned=unsigned)
    except (Refused, UnusableKeys, Untrusted, OSError) as error:
        raise click.ClickException(str(error)) from None


def _update(package: Path, keys: ReleaseKeys, folder: Path, *, check: bool, downgrade: bool, unsigned: bool) -> None:
    from gateway.software.delivery import Delivery, Refused, check_delivery, copy_of  # noqa: PLC0415 - see gateway.cli

    if unsigned:
        copy_of(package, folder / package.name)
        delivery = Delivery(folder / package.name)
        echo(f"{package.name}: nobody vouches for it", err=True)
    else:
        delivery = check_delivery(package, keys, folder)
        echo(f"{package.name}: signed with a release key of {keys.place}")
    if package.name.endswith(".deb"):
        install = _debian_package(delivery.copy, downgrade=downgrade)
    elif package.name.endswith(BUNDLE):
        install = _bundle(delivery.copy, folder, keys, downgrade=downgrade, unsigned=unsigned)
    else:
        raise Refused(f"{package.name} is neither a Debian package (.deb) nor the bundle ({BUNDLE}) of Lineside")
    if check:
        return
    _adopt(delivery, keys)
    done = subprocess.run(install, check=False)  # noqa: S603 - of the package that was checked
    if done.returncode:
        raise Refused(f"the installation has failed with exit code {done.returncode}; its output says why")


def _debian_package(copy: Path, *, downgrade: bool) -> list[str]:
    """Return the command that installs a Debian package of Lineside. Raises `Refused`."""
    from gateway.software.delivery import Refused  # noqa: PLC0415 - see gateway.cli

    if shutil.which("dpkg") is None:
        raise Refused("this system has no dpkg; install the bundle")
    name, version = (_said("dpkg-deb", "--field", str(copy), field) for field in ("Package", "Version"))
    if name != "lineside":
        raise Refused(f"{copy.name} is not a Debian package of Lineside")
    present = _said("dpkg-query", "--show", "--showformat=${Version}", "lineside")
    comparison = ["dpkg", "--compare-versions", version, "lt", present]
    if present and not downgrade and not subprocess.run(comparison, check=False).returncode:  # noqa: S603 - as above
        raise Refused(_newer(present, version))
    return ["dpkg", "--install", str(copy)]


def _bundle(copy: Path, folder: Path, keys: ReleaseKeys, *, downgrade: bool, unsigned: bool) -> list[str]:
    """Unpack a bundle; return the command that installs it. Raises `Refused`."""
    from gateway.software.delivery import Refused  # noqa: PLC0415 - see gateway.cli
    from gateway.software.release_keys import public_pem  # noqa: PLC0415 - see gateway.cli
    from gateway.software.version_order import is_older  # noqa: PLC0415 - see gateway.cli

    unpacked = folder / "bundle"
    try:
        _unpack(copy, unpacked)
        (script,) = unpacked.glob("*/install.sh")
        version = script.with_name("VERSION").read_text(encoding="utf-8")[:MOST_VERSION].strip()
        older = is_older(version, __version__)
    except (tarfile.TarError, ValueError, FileNotFoundError):
        raise Refused(f"{copy.name} is not a bundle of Lineside with a script and a version; get it again") from None
    if older and not downgrade:
        raise Refused(_newer(__version__, version))
    (folder / "release.pub").write_text("".join(map(public_pem, keys.keys)), encoding="utf-8")
    accepted = ["--unsigned"] if unsigned else ["--key", str(folder / "release.pub")]
    # by its interpreter: /tmp may be mounted without the right to execute
    return ["/bin/sh", str(script), *accepted, *(["--downgrade"] if downgrade else [])]


def _unpack(copy: Path, folder: Path) -> None:
    """Unpack files and folders. Raises `tarfile.TarError` for anything else, and for a name outside of the folder."""
    with tarfile.open(copy) as archive:
        for member in archive.getmembers():
            path = PurePosixPath(member.name)
            if not (member.isfile() or member.isdir()) or path.is_absolute() or ".." in path.parts:
                raise tarfile.ExtractError(f"{member.name[:100]!r} is not a file in the bundle")
        if (data_filter := getattr(tarfile, "data_filter", None)) is not None:  # Python 3.11.4 and newer
            archive.extraction_filter = data_filter
        archive.extractall(folder)  # noqa: S202 - all members were checked


def _newer(present: str, version: str) -> str:
    return f"version {present} is installed, which is newer than {version}; to go back to it, add --downgrade"


def _adopt(delivery: Delivery, keys: ReleaseKeys) -> None:
    """Trust the next key of a release from now on, beside the keys before it."""
    from gateway.common.atomic_file import replace_file  # noqa: PLC0415 - see gateway.cli
    from gateway.software.release_keys import FILE, public_pem  # noqa: PLC0415 - see gateway.cli

    new = [one for one in delivery.next_keys if one not in keys.keys]
    if not new:
        return
    if keys.place != FILE:
        echo(f"the next release key is {', '.join(new)}; add it to {keys.place}")
        return
    text = FILE.read_text(encoding="utf-8")
    text = text if text.endswith("\n") else f"{text}\n"
    replace_file(FILE, [text.encode(), *(public_pem(one).encode() for one in new)])
    FILE.chmod(0o644)
    echo(f"the next release key is {', '.join(new)}; {FILE} has it from now on")


def _said(*command: str) -> str:
    ran = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - of this function's callers
    return ran.stdout.strip() if not ran.returncode else ""
