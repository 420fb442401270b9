"""Keys that are locked with a password: what `validate` and the services say of a missing or wrong password."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from structlog.testing import capture_logs

from drivers.private_key import is_locked, load_private_key
from gateway.cli import main
from gateway.settings.load import load_factory
from gateway.settings.locked_keys import key_problems, log_key_problems

if TYPE_CHECKING:
    from pathlib import Path

PASSWORD = "hunter2-of-the-key"


def key_file(folder: Path, password: str | None = PASSWORD, form: PrivateFormat = PrivateFormat.PKCS8) -> Path:
    lock = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    file = folder / "own.key"
    file.write_bytes(ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, form, lock))
    return file


def pair(key: Path, **more: Any) -> dict[str, Any]:
    return {"certificate": str(key.with_suffix(".pem")), "key": str(key), **more}


def with_key(place: str, key: Path, password: dict[str, str] | None) -> dict[str, Any]:
    """Return a factory with a key at one of the places that have a key."""
    named = {} if password is None else {"key_password": password}
    data: dict[str, Any] = {
        "format": 1,
        "factory": {"enterprise": "acme", "site": "north"},
        "gateway": {"id": "edge-01"},
        "broker": {"url": "mqtts://broker.plant"},
        "stores": [{"influxdb": {"url": "https://tsdb", "bucket": "b"}}],
    }
    connection: dict[str, Any] = {"url": "modbus+tls://10.0.0.1"}
    template = "curing-press"
    match place:
        case "broker":
            data["broker"] |= pair(key) | named
        case "stores.0.influxdb":
            data["stores"][0]["influxdb"] |= pair(key) | named
        case "dashboard.tls":
            data["dashboard"] = {"tls": pair(key) | named}
        case "modbus":
            connection |= pair(key) | named
        case "opcua":
            template = "tire-building-machine"
            user = {} if password is None else {"user_key_password": password}
            connection = {"url": "opc.tcp://10.0.0.1", "user_certificate": str(key), "user_key": str(key)} | user
        case "pki":
            template = "tire-building-machine"
            own = key.parent / "pki" / "own" / "private" / "lineside.pem"
            own.parent.mkdir(parents=True, exist_ok=True)
            own.write_bytes(key.read_bytes())
            connection = {"url": "opc.tcp://10.0.0.1", "pki": str(key.parent / "pki")} | named
    data["lines"] = {"line": {"area": "a", "machines": {"m": {"template": template, "connection": connection}}}}
    return data


def written(folder: Path, data: dict[str, Any]) -> Path:
    file = folder / "factory.yaml"
    file.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return file


def validate(file: Path) -> Result:
    return CliRunner().invoke(main, ["validate", str(file)])


PLACES = ["broker", "stores.0.influxdb", "dashboard.tls", "modbus", "opcua", "pki"]


@pytest.mark.parametrize("place", PLACES)
def test_a_missing_or_wrong_password_is_an_error_at_its_line(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a service starts; and no output shows the password, neither the right nor the wrong password."""
    key = key_file(tmp_path)
    file = written(tmp_path, with_key(place, key, None))
    missing = validate(file)
    assert missing.exit_code == 1
    assert "it is locked with a password; write " in missing.stderr
    assert "key_password: {secret: NAME}" in missing.stderr

    file = written(tmp_path, with_key(place, key, {"secret": "edge_key"}))
    monkeypatch.setenv("LINESIDE_SECRET_EDGE_KEY", "a-wrong-password")
    wrong = validate(file)
    assert wrong.exit_code == 1
    lines = file.read_text(encoding="utf-8").splitlines()
    [line] = [at for at, text in enumerate(lines, 1) if "key_password" in text]
    [problem] = [one for one in wrong.stderr.splitlines() if "can't be used" in one]
    assert problem.startswith((f"{file}:{line}:", f"{file}:{line + 1}:"))
    assert "key_password is not its password" in problem
    assert "a-wrong-password" not in wrong.output
    monkeypatch.setenv("LINESIDE_SECRET_EDGE_KEY", PASSWORD)
    right = validate(file)
    assert "can't be used" not in right.output
    assert right.exit_code == 0


def test_a_secret_or_key_that_is_elsewhere_is_no_error_of_a_build(tmp_path: Path) -> None:
    """The file is right; the key and its password are on the box alone. The service itself says what it misses."""
    key = key_file(tmp_path)
    file = written(tmp_path, with_key("broker", key, {"secret": "edge_key"}))
    assert validate(file).exit_code == 0
    with capture_logs() as logs:
        log_key_problems(load_factory(file), ("broker",))
    assert [(one["event"], one["key"]) for one in logs] == [("configuration.key_unusable", "broker.key_password")]
    assert "secret 'edge_key' is missing" in logs[0]["error"]
    assert logs[0]["file"].startswith(f"{file}:")
    key.unlink()
    assert list(key_problems(load_factory(file), here=True)) == []


def test_a_password_of_a_key_without_one_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key may be locked later, without a moment in which the two do not fit."""
    monkeypatch.setenv("LINESIDE_SECRET_EDGE_KEY", PASSWORD)
    assert (
        validate(written(tmp_path, with_key("broker", key_file(tmp_path, None), {"secret": "edge_key"}))).exit_code
        == 0
    )


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_both_forms_of_a_locked_key_are_opened(tmp_path: Path, form: PrivateFormat) -> None:
    """PKCS#8, and the older form that many tools still write."""
    content = key_file(tmp_path, form=form).read_bytes()
    assert is_locked(content)
    assert isinstance(load_private_key(content, PASSWORD), ec.EllipticCurvePrivateKey)
    with pytest.raises(ValueError, match="it is locked with a password"):
        load_private_key(content, None)
    with pytest.raises(ValueError, match="the secret of key_password is not its password") as wrong:
        load_private_key(content, "a-wrong-password")
    assert wrong.value.__cause__ is None
    with pytest.raises(ValueError, match="is not its password"):
        load_private_key(content, "")


@pytest.mark.parametrize("content", [b"", b"junk", b"-----BEGIN PRIVATE KEY-----\nzz\n-----END PRIVATE KEY-----\n"])
def test_other_content_is_no_key(content: bytes) -> None:
    with pytest.raises(ValueError, match="it is not a PEM file with a private key"):
        load_private_key(content, None)
