"""Public keys of Ed25519: all forms are read at one place, and shown in one form."""

from __future__ import annotations

import json
from base64 import b64encode
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from command_line import lineside
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as curve_key
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from rights import with_policy

from gateway.common.public_keys import UnusableKey, canonical, public_key, public_text
from gateway.ingest.signatures import Signatures
from gateway.settings.commands_section import CommandKey, CommandsSection
from gateway.settings.policy import PolicyFile
from gateway.settings.sections import IngestSection

if TYPE_CHECKING:
    from pathlib import Path

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
RAW = b64encode(KEY.public_key().public_bytes_raw()).decode()
PEM = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
LINE = PEM.splitlines()[1]

FORMS = [
    RAW,
    LINE,
    PEM,
    PEM.replace("\n", "\r\n"),
    f"  {LINE}\n",
    PEM.rstrip(),
    RAW[:-2] + chr(ord(RAW[-2]) + 1) + "=",
]


@pytest.mark.parametrize("written", FORMS)
def test_all_forms_are_one_key(written: str) -> None:
    """Also with the unused bits of Base64 set, so that texts of one key compare as equal."""
    assert canonical(written) == LINE == public_text(KEY.public_key())
    assert public_key(written).public_bytes_raw() == KEY.public_key().public_bytes_raw()


@pytest.mark.parametrize("written", FORMS)
def test_each_place_reads_each_form_and_has_the_canonical_one(written: str) -> None:
    """The policy, the keys of gateways that sign records, and those of persons who command."""
    assert PolicyFile.model_validate({"format": 1, "signers": {"anna": written}}).signers == {"anna": LINE}
    section = IngestSection.model_validate({"public_keys": {"edge-01": [written, RAW]}})
    assert section.public_keys == {"edge-01": (LINE, LINE)}
    for key in (written, {"key": written}):
        assert CommandsSection.model_validate({"keys": {"room": key}}).keys == {"room": CommandKey(key=LINE)}
    assert Signatures({"edge-01": [written]}).fault("edge-01", "place", b"{}")


def _public(key: Ed448PrivateKey | EllipticCurvePrivateKey, encoding: Encoding) -> bytes:
    return key.public_key().public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (
            b64encode(_public(Ed448PrivateKey.generate(), Encoding.DER)).decode(),
            "is a key of another kind than Ed25519",
        ),
        (
            curve_key(SECP256R1())
            .public_key()
            .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            .decode(),
            "is a key of another kind than Ed25519",
        ),
        (KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(), "is a private key"),
        (KEY.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode(), "is a private key"),
        (KEY.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode(), "is a key of OpenSSH"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "is a PEM of the kind CERTIFICATE"),
        (PEM.replace("-----END", "-----ENT"), "is a PEM of the kind PUBLIC KEY"),
        (b64encode(bytes(31)).decode(), "has 31 bytes, and not 32"),
        (LINE[:-4], "is not a public key of Ed25519"),
        (RAW.replace(RAW[5], "-"), "in Base64"),
        ("ä" * 44, "in Base64"),
        ("", "has 0 bytes"),
        ("A" * 10_001, "is too long"),
        (PEM.replace(LINE, RAW), "has 32 bytes"),
    ],
    ids=[
        "Ed448",
        "ECDSA",
        "private",
        "private of OpenSSH",
        "public of OpenSSH",
        "certificate",
        "without its end",
        "31 bytes",
        "cut",
        "odd letter",
        "umlauts",
        "empty",
        "too long",
        "raw in PEM",
    ],
)
def test_what_is_no_key_is_named_with_the_command_that_prints_it(written: str, reason: str) -> None:
    """The text is never repeated: it may be a private key."""
    with pytest.raises(UnusableKey) as caught:
        canonical(written)
    assert reason in str(caught.value)
    assert "openssl pkey -in KEY.pem -pubout" in str(caught.value)
    assert not written or written not in str(caught.value)


@given(st.one_of(st.text(max_size=200), st.binary(max_size=100).map(lambda data: b64encode(data).decode())))
def test_any_text_is_a_key_or_a_clear_error(text: str) -> None:
    """Never an error of another kind; and the canonical form is read again."""
    with suppress(UnusableKey):
        assert canonical(canonical(text)) == canonical(text)


def test_a_wrong_key_is_reported_with_its_line_and_no_key(tmp_path: Path) -> None:
    """As each problem of a file is; a private key that was written by mistake is not printed."""
    private = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    file = tmp_path / "factory.yaml"
    file.write_text(
        "format: 1\nfactory: {enterprise: acme, site: north}\ngateway: {id: edge-01}\n"
        f"broker: {{url: 'mqtt://127.0.0.1'}}\ningest:\n  public_keys:\n    edge-01: {json.dumps(private)}\n"
        "lines: {one: {area: area, machines: {m: {template: curing-press, connection: 'modbus+tcp://10.0.0.1'}}}}\n"
    )
    ran = lineside("validate", str(file))
    assert ran.exit_code == 1
    assert f"{file}:7:" in ran.output
    assert "is a private key, which belongs in no configuration" in ran.output
    assert private.splitlines()[1] not in ran.output


@with_policy
def test_a_signer_in_another_form_is_the_same_signer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signature has the canonical form, the policy here the 32 bytes."""
    from gateway.settings.load import load_factory
    from gateway.settings.policy import VARIABLE
    from gateway.settings.signature import sign, signature_file
    from gateway.settings.signature_memory import Service

    policy = tmp_path / "etc" / "policy.yaml"
    policy.parent.mkdir()
    policy.write_text(f"format: 1\nsigners: {{anna: {RAW}}}\n")
    file = tmp_path / "factory.yaml"
    file.write_text(
        "format: 1\nfactory: {enterprise: acme, site: north}\ngateway: {id: edge-01}\n"
        "broker: {url: 'mqtt://127.0.0.1'}\n"
        "lines: {one: {area: area, machines: {m: {template: curing-press, connection: 'modbus+tcp://10.0.0.1'}}}}\n"
    )
    monkeypatch.setenv(VARIABLE, str(policy))
    signature_file(file).write_bytes(sign(load_factory(file), KEY))
    assert load_factory(file, service=Service.GATEWAY).signed is not None
