"""Whole archives are encrypted: nothing can be read or changed without the key, and no copy is in the clear."""

from __future__ import annotations

import gzip
import io
import json
import shutil
from base64 import b64encode
from typing import TYPE_CHECKING, cast

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import write_factory

from gateway.backup import encrypted
from gateway.backup import save as saving
from gateway.backup.container import BadArchive
from gateway.backup.encrypted import CHUNK, MAGIC, TAG, DecryptingReader, EncryptingWriter, Unlock, read_header
from gateway.backup.sealed import WrongPassphrase
from gateway.cli import main
from gateway.settings.load import load_factory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import BinaryIO

PASSPHRASE = "kettle-river-41-piano"
SECRET = "s3cret-of-the-broker"
KEY = X25519PrivateKey.from_private_bytes(bytes(range(32)))


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A gateway with a state folder, users and a secret."""
    monkeypatch.setenv("LINESIDE_SECRETS", str(tmp_path / "secrets"))
    for folder in ("etc", "state", "secrets", "media"):
        (tmp_path / folder).mkdir()
    (tmp_path / "secrets" / "broker_password").write_text(SECRET)
    (tmp_path / "state" / "users.yaml").write_text("format: 1\nusers: {}\n")
    return configured(tmp_path, "reported")


def configured(folder: Path, storage: str) -> Path:
    return write_factory(
        folder / "etc" / "factory.yaml",
        gateway={"id": "edge-01", "spool": {"folder": str(folder / "state")}},
        broker={"url": "mqtts://broker.example:8883", "username": "edge", "password": {"secret": "broker_password"}},
        ingest={"folder": str(folder / "state")},
        storage={"encrypted": storage},
        lines={
            "line": {
                "area": "area",
                "machines": {"m-01": {"template": "curing-press", "connection": "modbus+tcp://127.0.0.1:1"}},
            }
        },
    )


def run(*arguments: object, stdin: str = f"{PASSPHRASE}\n") -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)


def write_keys(folder: Path, password: bytes = b"") -> tuple[Path, Path]:
    """Write the private and the public key as openssl does."""
    lock = BestAvailableEncryption(password) if password else NoEncryption()
    private, public = folder / "key.pem", folder / "key.pub"
    private.write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock))
    public.write_bytes(KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


def encrypt(plain: bytes, lock: encrypted.Lock) -> bytes:
    file = io.BytesIO()
    writer = EncryptingWriter(file, lock)
    for at in range(0, len(plain), 10_007):
        writer.write(plain[at : at + 10_007])
    writer.finish()
    return file.getvalue()


def decrypt(data: bytes, unlock: Unlock) -> bytes:
    file = io.BufferedReader(io.BytesIO(data))  # type: ignore[arg-type] - of typeshed: BytesIO is a raw file, too
    header = read_header(file)
    if header is None:
        raise BadArchive("it is not encrypted")
    reader = DecryptingReader(file, header, unlock)
    return b"".join(iter(lambda: reader.read(5_003), b""))


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passphrases without the cost of scrypt, for many examples."""
    monkeypatch.setattr(encrypted, "key_of_passphrase", lambda passphrase, salt: (passphrase.encode() + salt)[:32])


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 17])
def test_every_size_comes_back(size: int) -> None:
    """The last chunk may be full, or empty."""
    plain = bytes(number % 251 for number in range(size))
    for lock, unlock in ((PASSPHRASE, PASSPHRASE), (KEY.public_key(), KEY)):
        data = encrypt(plain, cast("encrypted.Lock", lock))
        assert decrypt(data, cast("Unlock", unlock)) == plain
        assert plain[:20] not in data or size == 1 or not size


@pytest.mark.slow
@given(at=st.integers(min_value=0), bit=st.integers(0, 7))
@settings(max_examples=200)
def test_no_changed_bit_is_accepted(at: int, bit: int) -> None:
    """Of the begin, the header, the chunks and their tags."""
    plain = bytes(2 * CHUNK + 100)
    data = bytearray(SAMPLE)
    data[at % len(data)] ^= 1 << bit
    with pytest.raises((WrongPassphrase, BadArchive)):
        assert decrypt(bytes(data), KEY) != plain


SAMPLE = encrypt(bytes(2 * CHUNK + 100), KEY.public_key())

HEAD = SAMPLE.index(b"\n", len(MAGIC)) + 1


@pytest.mark.parametrize(
    "changed",
    [
        lambda body: body[: CHUNK + TAG],
        lambda body: body[: 2 * (CHUNK + TAG)],
        lambda body: body[:-1],
        lambda body: body[:0],
        lambda body: body + b"x",
        lambda body: body + body,
        lambda body: body[CHUNK + TAG :],
        lambda body: body[CHUNK + TAG : 2 * (CHUNK + TAG)] + body[: CHUNK + TAG] + body[2 * (CHUNK + TAG) :],
    ],
    ids=["one chunk", "two chunks", "a byte less", "nothing", "a byte more", "twice", "without the first", "swapped"],
)
def test_chunks_that_are_cut_off_moved_or_added_are_found(changed: Callable[[bytes], bytes]) -> None:
    """Each chunk is authentic on its own: their number and the mark of the last one bind them together."""
    with pytest.raises((WrongPassphrase, BadArchive)):
        decrypt(SAMPLE[:HEAD] + changed(SAMPLE[HEAD:]), KEY)


def test_two_archives_of_the_same_content_have_nothing_in_common() -> None:
    """A nonce is used once with a key: each archive has a key of its own."""
    first, second = (encrypt(bytes(CHUNK), KEY.public_key())[HEAD:] for _ in range(2))
    assert first[:32] != second[:32]


@pytest.mark.parametrize(
    "header",
    [
        b"", b"\n", b"{}\n", b'{"salt":"AAAA"}\n', b'{"salt":"AAAAAAAAAAAAAAAAAAAAAA=="}', b"[1]\n", b"x" * 2_000,
        b'{"salt":"AAAAAAAAAAAAAAAAAAAAAA==","recipient":null}\n', b'{"recipient":"' + b64encode(bytes(32)) + b'"}\n',
        b'{"n":1}\n',
    ],
)  # fmt: skip
def test_a_header_of_another_form_is_refused(header: bytes) -> None:
    """It comes from outside, and no parameter of it costs memory."""
    with pytest.raises(BadArchive, match="its header can't be read"):
        read_header(io.BytesIO(MAGIC + header))


def test_another_version_is_named() -> None:
    """An archive of a later version is not called damaged."""
    with pytest.raises(BadArchive, match="in a form that this version does not know"):
        read_header(io.BytesIO(MAGIC.replace(b"1", b"2")))


@pytest.mark.slow
def test_an_encrypted_archive_is_restored_with_its_passphrase(config: Path, tmp_path: Path) -> None:
    """One passphrase opens the archive, and the keys and secrets in it only when they are asked for."""
    archive = tmp_path / "media" / "edge-01.backup"
    done = run("backup", config, archive, "--encrypt", "--secrets", "--passphrase-stdin")
    assert done.exit_code == 0, done.output
    data = archive.read_bytes()
    assert data.startswith(MAGIC)
    assert b"edge-01" not in data
    assert archive.stat().st_mode & 0o777 == 0o600
    shutil.rmtree(tmp_path / "state")
    wrong = run("restore", archive, "--yes", "--passphrase-stdin", stdin="another passphrase\n")
    assert (wrong.exit_code, len(wrong.stderr.splitlines())) == (1, 1)
    assert "the passphrase or the key is wrong" in wrong.stderr
    done = run("restore", archive, "--yes", "--passphrase-stdin", "--secrets", tmp_path / "new")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "state" / "users.yaml").read_text() == "format: 1\nusers: {}\n"
    assert (tmp_path / "new" / "broker_password").read_text() == SECRET


def test_an_archive_for_a_key_needs_no_secret_on_the_box(config: Path, tmp_path: Path) -> None:
    """A nightly backup has the public key; the private key is where restores are made."""
    private, public = write_keys(tmp_path)
    archive = tmp_path / "media" / "edge-01.backup"
    done = run("backup", config, archive, "--recipient", public, stdin="")
    assert done.exit_code == 0, done.output
    needs = run("restore", archive, "--check", stdin="")
    assert (needs.exit_code, needs.stderr.count("write --key FILE")) == (1, 1)
    done = run("restore", archive, "--check", "--key", private, "--replace", "--format", "json", stdin="")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["gateway"] == "edge-01"
    other = tmp_path / "other.pem"
    key = X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    other.write_bytes(key)
    refused = run("restore", archive, "--check", "--key", other, stdin="")
    assert "the archive is for another key: that with the public key" in refused.stderr


def test_a_file_without_such_a_key_says_which_is_right(config: Path, tmp_path: Path) -> None:
    """Keys of signatures, locked keys and the wrong half are the mistakes that people make."""
    private, public = write_keys(tmp_path)
    archive = tmp_path / "media" / "edge-01.backup"
    assert run("backup", config, archive, "--recipient", public, stdin="").exit_code == 0
    signing = tmp_path / "signing.pem"
    signing.write_bytes(Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    for wrong in (private, signing):
        done = run("backup", config, tmp_path / "x", "--recipient", wrong, stdin="")
        assert (done.exit_code, "is not a public key of X25519" in done.stderr) == (1, True)
    for wrong in (public, signing):
        done = run("restore", archive, "--check", "--key", wrong, stdin="")
        assert (done.exit_code, "is not a private key of X25519" in done.stderr) == (1, True)
    write_keys(tmp_path, b"password")
    assert "is locked with a password" in run("restore", archive, "--check", "--key", private, stdin="").stderr


def test_nothing_in_the_clear_is_on_the_disk_of_the_archive(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stick goes in a pocket: removed copies could be read from it again."""
    seen: set[str] = set()

    class Watched(EncryptingWriter):
        def __init__(self, file: BinaryIO, lock: encrypted.Lock) -> None:
            seen.update(str(one.relative_to(tmp_path)) for one in (tmp_path / "media").rglob("*"))
            seen.update(str(one.relative_to(tmp_path)) for one in (tmp_path / "state").glob(".lineside*/*"))
            super().__init__(file, lock)

    monkeypatch.setattr(saving, "EncryptingWriter", Watched)
    left = tmp_path / "state" / ".lineside-backup-edge-01"
    left.mkdir()
    (left / "of-a-killed-run").touch()
    factory = load_factory(config)
    saving.save(factory, tmp_path / "media" / "a", None, lock=KEY.public_key())
    assert {one for one in seen if one.startswith("media")} == {"media/.a.partial"}
    assert "state/.lineside-backup-edge-01/manifest.json" in seen
    assert not left.exists()
    assert [one.name for one in (tmp_path / "media").iterdir()] == ["a"]


@pytest.mark.slow
def test_an_archive_in_the_clear_needs_encrypted_storage_where_that_is_required(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy of all data must not be the way around an encrypted disk."""
    from gateway.storage import folder
    from gateway.storage.verdict import State, Verdict

    plain = Verdict(State.NOT_ENCRYPTED, "sdb", "no device of the chain is dm-crypt")
    monkeypatch.setattr(folder, "verdict_of_folder", lambda *_: plain)
    archive = tmp_path / "media" / "a"
    done = run("backup", configured(tmp_path, "expected"), archive, stdin="")
    assert (done.exit_code, "in the clear on sdb" in done.stderr) == (0, True)
    archive.unlink()
    done = run("backup", configured(tmp_path, "required"), archive, stdin="")
    assert (done.exit_code, "write --encrypt or --recipient FILE" in done.stderr) == (1, True)
    assert not archive.exists()
    assert run("backup", config, archive, "--encrypt", "--passphrase-stdin").exit_code == 0


def test_options_that_contradict_each_other_are_refused(config: Path, tmp_path: Path) -> None:
    """An archive is encrypted in one way."""
    _, public = write_keys(tmp_path)
    done = run("backup", config, tmp_path / "x", "--encrypt", "--recipient", public)
    assert (done.exit_code, "write one" in done.stderr) == (2, True)
    assert "is for --secrets and --encrypt" in run("backup", config, tmp_path / "x", "--passphrase-stdin").stderr


def test_an_archive_without_encryption_is_still_a_file_of_gzip(config: Path, tmp_path: Path) -> None:
    """Any tar program reads it."""
    archive = tmp_path / "media" / "a.tar.gz"
    assert run("backup", config, archive, stdin="").exit_code == 0
    assert b"manifest.json" in gzip.decompress(archive.read_bytes())[:512]
