"""`lineside sign`: the signature of a configuration, and keys that can't be used."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import pytest
from command_line import lineside
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from gateway.common.public_keys import public_key, public_text
from gateway.settings.signature import Signature

if TYPE_CHECKING:
    from pathlib import Path

FACTORY = """
format: 1
factory: {enterprise: acme, site: north}
gateway: {id: edge-01}
broker: {url: "mqtt://127.0.0.1"}
lines: {one: {area: area, machines: {m-01: {template: curing-press, connection: "modbus+tcp://10.20.1.11?unit=1"}}}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration of one file."""
    file = tmp_path / "factory.yaml"
    file.write_text(FACTORY)
    return file


def written(folder: Path, key: Ed25519PrivateKey, passphrase: bytes = b"") -> Path:
    """Write a key as openssl does."""
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    file = folder / "anna.pem"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    file.chmod(0o600)
    return file


@pytest.mark.parametrize("passphrase", [b"", b"correct horse"])
def test_the_signature_is_beside_the_file_and_the_public_key_is_printed(config: Path, passphrase: bytes) -> None:
    """Others can read the signature: it has no secret, and a service of another user checks it."""
    key = Ed25519PrivateKey.generate()
    file = written(config.parent, key, passphrase)
    ran = lineside("sign", str(config), "--key", str(file), input=passphrase.decode() + "\n")
    assert ran.exit_code == 0, ran.output
    signature = config.with_name("factory.yaml.sig")
    found = Signature.model_validate_json(signature.read_bytes())
    said = f"{signature}: 1 file signed at {found.time} with the key {public_text(key.public_key())}\n  factory.yaml"
    assert said in ran.output
    assert stat.S_IMODE(signature.stat().st_mode) == 0o644
    assert list(found.files) == ["factory.yaml"]
    assert public_text(public_key(found.key)) == public_text(key.public_key())


def test_programs_get_the_files_and_the_key(config: Path) -> None:
    """For a pipeline that writes policies."""
    key = Ed25519PrivateKey.generate()
    ran = lineside("sign", str(config), "--key", str(written(config.parent, key)), "--format", "json")
    found = json.loads(ran.stdout)
    assert found["key"] == public_text(key.public_key())
    assert found["time"] == Signature.model_validate_json(config.with_name("factory.yaml.sig").read_bytes()).time
    assert list(found["files"]) == ["factory.yaml"]


def test_a_key_that_can_not_be_used_is_said(config: Path) -> None:
    """And nothing is written."""
    file = written(config.parent, Ed25519PrivateKey.generate(), b"right")
    ran = lineside("sign", str(config), "--key", str(file), input="wrong\n")
    assert ran.exit_code == 1
    assert "is not an Ed25519 key in PEM, or the passphrase is wrong" in ran.output
    file.chmod(0o640)
    assert f"others can use the key; run chmod 600 {file}" in lineside("sign", str(config), "--key", str(file)).output
    file.write_bytes(
        generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    file.chmod(0o600)
    ran = lineside("sign", str(config), "--key", str(file))
    assert "openssl genpkey -algorithm ed25519" in ran.output
    assert "No such file" in lineside("sign", str(config), "--key", "none.pem").output
    config.write_text("format: 1\n")
    assert lineside("sign", str(config), "--key", str(file)).exit_code == 1
    assert not config.with_name("factory.yaml.sig").exists()
