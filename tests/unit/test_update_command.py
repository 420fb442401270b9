"""`lineside update`: a package is checked before anything of it is used, and each refusal is one clear line."""

from __future__ import annotations

import hashlib
import shlex
import tarfile
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rights import with_policy

from gateway import __version__
from gateway.cli import main
from gateway.common.public_keys import public_text
from gateway.software import release_keys
from gateway.software.release_keys import NEXT_KEY, public_pem
from gateway.software.version_order import is_older

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = with_policy

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
NEXT = Ed25519PrivateKey.from_private_bytes(bytes(31) + b"1")


def pem(key: Ed25519PrivateKey) -> str:
    return public_pem(public_text(key.public_key()))


class Release:
    """A signed bundle whose script writes its arguments to a file, with the key of later releases."""

    def __init__(self, folder: Path, version: str = "99.0") -> None:
        self.folder = folder
        self.ran = folder.parent / "ran"
        self.bundle = folder / f"lineside-{version}-bundle.tar"
        inside = folder.parent / "inside" / f"lineside-{version}"
        inside.mkdir(parents=True)
        folder.mkdir()
        (inside / "VERSION").write_text(f"{version}\n")
        (inside / "install.sh").write_text(f'#!/bin/sh\necho "$@" >{shlex.quote(str(self.ran))}\n')
        (inside / "install.sh").chmod(0o755)
        with tarfile.open(self.bundle, "w") as archive:
            archive.add(inside, inside.name)
        self.next_key = folder / NEXT_KEY
        self.next_key.write_text(pem(NEXT))
        self.sign()

    def sign(self, key: Ed25519PrivateKey = KEY) -> None:
        files = (self.bundle, self.next_key)
        sums = "".join(f"{hashlib.sha256(one.read_bytes()).hexdigest()}  {one.name}\n" for one in files)
        (self.folder / "SHA256SUMS").write_text(sums)
        (self.folder / "SHA256SUMS.sig").write_bytes(key.sign(sums.encode()))


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make this machine trust the key of the release."""
    file = tmp_path / "release.pub"
    file.write_text(pem(KEY))
    monkeypatch.setattr(release_keys, "FILE", file)
    return file


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return Release(tmp_path / "delivery")


def refused(release: Release, *options: str) -> str:
    result = CliRunner().invoke(main, ["update", str(release.bundle), *options])
    assert result.exit_code == 1, result.output
    assert not release.ran.exists()
    lines = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert lines == result.output.splitlines()[-1:]
    return lines[0].removeprefix("Error: ")


def test_a_signed_release_is_installed_and_its_next_key_is_trusted(release: Release, trusted: Path) -> None:
    """The next release may be signed with the next key, which the present key has vouched for."""
    done = CliRunner().invoke(main, ["update", str(release.bundle)])
    assert done.exit_code == 0, done.output
    assert f"{release.bundle.name}: signed with a release key of {trusted}" in done.output
    assert release.ran.read_text().startswith("--key ")
    assert trusted.read_text() == pem(KEY) + pem(NEXT)
    assert trusted.stat().st_mode & 0o777 == 0o644
    release.sign(NEXT)
    assert CliRunner().invoke(main, ["update", str(release.bundle)]).exit_code == 0
    assert trusted.read_text() == pem(KEY) + pem(NEXT), "once is enough"


def test_a_check_installs_nothing_and_trusts_no_new_key(release: Release, trusted: Path) -> None:
    assert CliRunner().invoke(main, ["update", str(release.bundle), "--check"]).exit_code == 0
    assert not release.ran.exists()
    assert trusted.read_text() == pem(KEY)


def test_a_key_that_is_named_is_used_and_the_next_one_is_shown(release: Release, trusted: Path) -> None:
    other = trusted.with_name("other.pub")
    other.write_text(pem(NEXT))
    assert "is not a signature by a release key of" in refused(release, "--key", str(other))
    other.write_text(pem(KEY))
    done = CliRunner().invoke(main, ["update", str(release.bundle), "--key", str(other)])
    assert f"the next release key is {public_text(NEXT.public_key())}; add it to {other}" in done.output
    assert trusted.read_text() == pem(KEY)


@pytest.mark.usefixtures("trusted")
def test_what_was_changed_is_refused_in_one_line(release: Release) -> None:
    content = release.bundle.read_bytes()
    release.bundle.write_bytes(content + b"\0")
    assert "is not the package that was signed: it was changed or damaged" in refused(release)
    release.bundle.write_bytes(content)
    release.next_key.write_text(pem(Ed25519PrivateKey.generate()))
    assert "is not the key that was signed" in refused(release)
    release.next_key.unlink()
    assert f"{NEXT_KEY} is in the signed SHA256SUMS, and can't be used" in refused(release)
    release.next_key.write_text(pem(NEXT))
    other = release.bundle.with_name("lineside-98.0-bundle.tar")
    release.bundle.rename(other)
    release.bundle = other
    assert "is not in the signed" in refused(release)


@pytest.mark.usefixtures("trusted")
def test_a_release_that_is_not_signed_is_refused_unless_a_person_accepts_it(release: Release) -> None:
    release.sign(Ed25519PrivateKey.generate())
    assert "is not a signature by a release key of" in refused(release)
    (release.folder / "SHA256SUMS.sig").write_bytes(b"")
    assert "is not a signature by a release key of" in refused(release)
    (release.folder / "SHA256SUMS.sig").unlink()
    assert "SHA256SUMS.sig is missing: the package is not signed" in refused(release)
    done = CliRunner().invoke(main, ["update", str(release.bundle), "--unsigned"])
    assert done.exit_code == 0
    assert "nobody vouches for it" in done.output
    assert release.ran.read_text() == "--unsigned\n"


def test_a_machine_without_a_release_key_says_where_to_put_it(
    release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release_keys, "FILE", tmp_path / "missing.pub")
    message = refused(release)
    assert f"put the public key of your supplier into {tmp_path / 'missing.pub'}" in message
    assert "--unsigned" in message


@pytest.mark.usefixtures("trusted")
def test_an_older_version_is_refused_unless_a_person_wants_it(tmp_path: Path) -> None:
    """A signed release with a known vulnerability stays signed."""
    older = Release(tmp_path / "delivery", "0.0.1")
    message = refused(older)
    assert message.startswith(f"version {__version__} is installed, which is newer than 0.0.1")
    assert CliRunner().invoke(main, ["update", str(older.bundle), "--downgrade"]).exit_code == 0
    assert older.ran.read_text().endswith("--downgrade\n")


@pytest.mark.usefixtures("trusted")
def test_a_signed_file_of_another_kind_is_refused(release: Release) -> None:
    release.bundle.write_bytes(b"nonsense")
    release.sign()
    assert "is not a bundle of Lineside" in refused(release)
    release.bundle = release.bundle.rename(release.bundle.with_name("notes.txt"))
    release.sign()
    assert "is neither a Debian package (.deb) nor the bundle" in refused(release)
    release.bundle = release.bundle.rename(release.bundle.with_name("lineside_99_amd64.deb"))
    release.sign()
    assert "is not a Debian package of Lineside" in refused(release)


@pytest.mark.usefixtures("trusted")
def test_a_script_that_fails_is_said(release: Release) -> None:
    inside = release.folder.parent / "inside" / "lineside-99.0"
    (inside / "install.sh").write_text("#!/bin/sh\nexit 3\n")
    with tarfile.open(release.bundle, "w") as archive:
        archive.add(inside, inside.name)
    release.sign()
    assert "has failed with exit code 3" in refused(release)


def test_versions_are_in_the_order_of_pep_440() -> None:
    ordered = ["0.0.9", "0.1.0.dev1", "0.1.0a2", "0.1.0rc1", "0.1.0", "0.1.0.post1", "0.1.1", "0.2", "0.10.0", "1.0"]
    for number, version in enumerate(ordered):
        assert [is_older(version, other) for other in ordered] == [number < at for at in range(len(ordered))]
    assert not is_older("1.0", "1.0.0")
    with pytest.raises(ValueError, match="is not a version, as in"):
        is_older("../../etc", "1.0")


@pytest.mark.parametrize("old", [False, True], ids=["this Python", "Python 3.11.2"])
@pytest.mark.parametrize("member", ["../outside", "/outside", "link"])
def test_a_bundle_writes_in_its_own_folder_alone(
    release: Release, member: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, old: bool
) -> None:
    """A person may accept a bundle that nobody has signed. The Python of Debian 12 has no filter for archives."""
    if old:
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    with tarfile.open(release.bundle, "a") as archive:
        entry = tarfile.TarInfo(member)
        entry.type, entry.linkname = (tarfile.SYMTYPE, str(tmp_path)) if member == "link" else (tarfile.REGTYPE, "")
        archive.addfile(entry)
    assert "is not a bundle of Lineside" in refused(release, "--unsigned")


@pytest.mark.usefixtures("trusted")
def test_a_bundle_is_installed_with_the_python_of_debian_12(
    release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    done = CliRunner().invoke(main, ["update", str(release.bundle)])
    assert done.exit_code == 0, done.output
    assert release.ran.exists()
