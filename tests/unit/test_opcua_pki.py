"""The folder of certificates: our own in it, and what `lineside certs` does with the others."""

from __future__ import annotations

import datetime as dt
import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from fakes.certificates import Signed, damaged, make, revocations

from drivers.opcua.security import pki as module
from drivers.opcua.security.certificates import fingerprint, thumbprint
from drivers.opcua.security.pki import Pki
from drivers.opcua.security.settings import default_folder
from gateway.audit.files import log_files
from gateway.audit.verify import verify
from gateway.cli import main

if TYPE_CHECKING:
    from pathlib import Path


def put(folder: Path, *certificates: x509.Certificate) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for certificate in certificates:
        (folder / f"{thumbprint(certificate)}.der").write_bytes(certificate.public_bytes(Encoding.DER))


# -- our own --


def test_a_key_that_is_made_with_a_password_is_locked(tmp_path: Path) -> None:
    """A copy of the disk alone has not the gateway's identity."""
    pki = Pki(tmp_path)
    made = pki.own("hunter2-of-the-gateway")
    assert pki.key_file.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert pki.own("hunter2-of-the-gateway").key.private_numbers() == made.key.private_numbers()
    with pytest.raises(ValueError, match="locked with a password"):
        pki.own()


def test_our_certificate_is_made_once_and_kept(tmp_path: Path) -> None:
    """Servers are configured to trust this certificate."""
    first, second = Pki(tmp_path / "pki").own(), Pki(tmp_path / "pki").own()
    assert first.certificate == second.certificate
    assert first.key.private_numbers() == second.key.private_numbers()


def test_our_certificate_is_what_part_6_wants(tmp_path: Path) -> None:
    """Part 6, 6.2.2: servers look at each of these."""
    own = Pki(tmp_path).own()
    certificate = own.certificate
    host = os.uname().nodename
    alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert (
        alternative.get_values_for_type(x509.UniformResourceIdentifier)
        == [own.uri]
        == [f"urn:{host}:lineside:gateway"]
    )
    assert alternative.get_values_for_type(x509.DNSName) == [host]
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert usage.content_commitment
    assert usage.key_encipherment
    assert usage.data_encipherment
    extended = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [*extended] == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert certificate.public_key().key_size == 2048
    assert certificate.signature_hash_algorithm is not None
    assert certificate.signature_hash_algorithm.name == "sha256"
    years = (certificate.not_valid_after_utc - dt.datetime.now(dt.UTC)).days / 365
    assert 9 < years < 11
    certificate.verify_directly_issued_by(certificate)


def test_the_private_key_is_for_its_owner_alone(tmp_path: Path) -> None:
    """A reader of the key can act as the gateway at every server; the umask must not weaken its mode."""
    before = os.umask(0)
    try:
        pki = Pki(tmp_path / "pki")
        pki.own()
    finally:
        os.umask(before)
    assert stat.S_IMODE(pki.key_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(pki.key_file.parent.stat().st_mode) == 0o700


def test_gateways_that_share_a_folder_get_the_same_certificate(tmp_path: Path) -> None:
    """They may start at the same moment, on a new machine."""
    with ThreadPoolExecutor(8) as pool:
        owns = list(pool.map(lambda _: Pki(tmp_path).own(), range(8)))
    assert len({own.certificate for own in owns}) == 1
    assert all(own.key.public_key() == own.certificate.public_key() for own in owns)
    assert sorted(file.name for file in tmp_path.rglob("*") if file.is_file()) == ["lineside.der", "lineside.pem"]


def test_a_certificate_of_the_plants_authority_is_used_as_ours(tmp_path: Path) -> None:
    """Its application URI counts then, not one of ours."""
    pki = Pki(tmp_path)
    ours = make("edge-01", uris=["urn:plant:edge-01"], issuer=make("plant", ca=True))
    pki.certificate_file.parent.mkdir(parents=True)
    pki.key_file.parent.mkdir(parents=True)
    pki.certificate_file.write_bytes(ours.der)
    pki.key_file.write_bytes(ours.key_pem)
    assert pki.own().certificate == ours.certificate
    assert pki.own().uri == "urn:plant:edge-01"


def test_own_files_that_do_not_match_are_named(tmp_path: Path) -> None:
    """The message contains no part of a key."""
    pki = Pki(tmp_path)
    pki.own()
    ours = pki.key_file.read_bytes()
    pki.key_file.write_bytes(make("another").key_pem)
    with pytest.raises(ValueError, match=r"lineside\.pem is not the key of .*lineside\.der"):
        pki.own()
    pki.key_file.write_bytes(ours[:300])
    with pytest.raises(
        ValueError, match=r"lineside\.pem can't be used: it is not a PEM file with a private key"
    ) as caught:
        pki.own()
    assert ours.splitlines()[1].decode() not in str(caught.value)
    locked = make("locked").key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    pki.key_file.write_bytes(locked)
    with pytest.raises(ValueError, match=r"locked with a password; write key_password: \{secret: NAME\}"):
        pki.own()
    with pytest.raises(ValueError, match="the secret of key_password is not its password") as wrong:
        pki.own("hunter2")
    assert "hunter2" not in str(wrong.value)
    with pytest.raises(ValueError, match="is not the key of"):  # it is opened, and belongs to another certificate
        pki.own("secret")
    pki.key_file.unlink()
    with pytest.raises(ValueError, match=r"lineside\.der is there, and its key .*lineside\.pem is not"):
        pki.own()


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({}, "lineside-data/pki"),
        ({"STATE_DIRECTORY": "/var/lib/lineside:/var/lib/other"}, "/var/lib/lineside/pki"),
        ({"STATE_DIRECTORY": "/var/lib/lineside", "LINESIDE_PKI": "/etc/pki"}, "/etc/pki"),
    ],
)
def test_the_folder_is_where_the_service_keeps_its_state(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], folder: str
) -> None:
    """Which systemd says, and a container by its working folder."""
    for name in ("STATE_DIRECTORY", "LINESIDE_PKI"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(default_folder()) == folder


# -- the others --


def test_certificates_in_the_folder_count_in_every_format(tmp_path: Path) -> None:
    """Browsers export PEM, authorities DER, under many names."""
    pki = Pki(tmp_path)
    root, server = make("root", ca=True), make("server")
    put(pki.trusted, server.certificate)
    (pki.trusted / "root.CRT").write_bytes(root.certificate.public_bytes(Encoding.PEM))
    (pki.trusted / "notes.txt").write_text("of 2024")
    pki.issuers.mkdir(parents=True)
    (pki.issuers / "half.der").write_bytes(root.der[:100])
    pki.crl[0].mkdir()
    (pki.crl[0] / "root.crl").write_bytes(revocations(root).public_bytes(Encoding.PEM))
    found = pki.store()
    assert {*found.trusted} == {root.certificate, server.certificate}
    assert found.issuers == ()
    assert found.unreadable == (pki.issuers / "half.der",)
    assert found.lists == (revocations(root),)


def test_a_revocation_list_that_can_not_be_read_stops_everything(tmp_path: Path) -> None:
    """Without the list, the gateway would trust the certificates that it revokes."""
    pki = Pki(tmp_path)
    pki.crl[1].mkdir(parents=True)
    (pki.crl[1] / "plant.crl").write_bytes(b"\x30\x03")
    with pytest.raises(ValueError, match=r"plant\.crl can't be used"):
        pki.store()


def test_rejected_certificates_are_kept_up_to_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that makes a new certificate at each start must not fill the disk."""
    monkeypatch.setattr(module, "MAX_REJECTED", 3)
    pki = Pki(tmp_path)
    all_ = [make(f"server {number}").certificate for number in (1, 1, 1, 1, 1)]
    for age, certificate in enumerate(all_):
        pki.reject(certificate)
        pki.reject(certificate)
        os.utime(pki.rejected / f"{fingerprint(certificate)}.der", (age, age))
    assert {file.stem for file in pki.rejected.iterdir()} == {fingerprint(one) for one in all_[2:]}


# -- lineside certs --


def certs(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["certs", *map(str, arguments)])
    return result.exit_code, result.output


def test_certificates_are_listed_by_their_role(tmp_path: Path) -> None:
    """The list shows all that a person compares with the display of a server."""
    pki = Pki(tmp_path)
    own, server, root, stranger = pki.own(), make("press-7"), make("plant", ca=True), make("stranger", days=(-9, -2))
    put(pki.trusted, server.certificate)
    put(pki.issuers, root.certificate)
    put(pki.rejected, stranger.certificate)
    (pki.rejected / "junk.der").write_bytes(b"junk")
    code, output = certs("list", tmp_path)
    assert code == 0
    lines = {line.split()[0]: line for line in output.splitlines()}
    assert own.uri in lines["own"]
    assert fingerprint(server.certificate) in lines["trusted"]
    assert "press-7  urn:test:server" in lines["trusted"]
    assert "plant  no URI" in lines["issuer"]
    assert f"to {stranger.certificate.not_valid_after_utc:%Y-%m-%d}" in lines["rejected"]
    assert "no certificate could be read of" in output
    assert "junk.der" in output


def test_a_rejected_certificate_is_trusted_by_its_whole_fingerprint_and_back(tmp_path: Path) -> None:
    """Other programs show a fingerprint in capitals, with colons."""
    pki = Pki(tmp_path)
    server = make().certificate
    pki.reject(server)
    shown = fingerprint(server).upper()
    code, output = certs("trust", tmp_path, f"{shown[:2]}:{shown[2:4]}:{shown[4:]}")
    assert code == 0
    assert fingerprint(server) in output
    assert "the change is in no audit log; name CONFIG in place of the folder" in output
    assert pki.store().trusted == (server,)
    assert list(pki.rejected.iterdir()) == []
    assert certs("reject", tmp_path, shown)[0] == 0
    assert pki.store().trusted == ()
    assert [file.stem for file in pki.rejected.iterdir()] == [fingerprint(server)]


@pytest.mark.parametrize("command", ["trust", "reject"])
def test_less_than_the_whole_fingerprint_changes_nothing(tmp_path: Path, command: str) -> None:
    """An intruder can make a certificate whose fingerprint begins alike within minutes."""
    pki = Pki(tmp_path)
    server = make().certificate
    put(pki.rejected if command == "trust" else pki.trusted, server)
    before = pki.store().trusted
    for part in (fingerprint(server)[:8], fingerprint(server)[:-1], thumbprint(server), "", "zz"):
        code, output = certs(command, tmp_path, part)
        assert code == 1
        assert "is not a SHA-256 fingerprint of 64 digits" in output
        assert "lineside certs show" in output
        assert pki.store().trusted == before


def test_a_certificate_is_shown_by_the_beginning_of_its_fingerprint(tmp_path: Path) -> None:
    """A person compares both digests with the device, as its tools show them."""
    pki = Pki(tmp_path)
    one, other = make("one").certificate, make("two").certificate
    put(pki.rejected, one)
    put(pki.trusted, other)
    for part in (fingerprint(one)[:10], thumbprint(one)[:10].upper()):
        code, output = certs("show", tmp_path, part)
        assert code == 0
        assert f"rejected  {fingerprint(one)}" in output
        for digest in (fingerprint(one), thumbprint(one)):
            assert digest.upper() in output.replace(":", "")
        assert "signature  its own" in output
        assert fingerprint(other) not in output
    assert certs("show", tmp_path, "")[0] == 1
    assert certs("show", tmp_path, "not-there")[0] == 1


def test_an_unknown_fingerprint_is_answered_with_the_known_fingerprints(tmp_path: Path) -> None:
    """Nothing is trusted by guess."""
    pki = Pki(tmp_path)
    one, other = make("one").certificate, make("two").certificate
    put(pki.rejected, one, other)
    code, output = certs("trust", tmp_path, "0" * 64)
    assert code == 1
    assert fingerprint(one) in output
    assert fingerprint(other) in output
    assert pki.store().trusted == ()


@pytest.mark.parametrize(
    ("server", "reason"),
    [
        (make(days=(-9, -2)), "expired on"),
        (make(days=(2, 9)), "is valid from"),
        (damaged(make()), "its signature is wrong"),
    ],
)
def test_a_certificate_that_can_not_be_right_is_not_trusted(tmp_path: Path, server: Signed, reason: str) -> None:
    """Its connection would be refused; and a wrong signature means that somebody changed the certificate."""
    pki = Pki(tmp_path)
    pki.reject(server.certificate)
    code, output = certs("trust", tmp_path, fingerprint(server.certificate))
    assert code == 1
    assert reason in output
    assert pki.store().trusted == ()


def test_a_configuration_leads_to_its_folders(tmp_path: Path) -> None:
    """A connection may have a folder of its own."""
    server = make().certificate
    Pki(tmp_path / "b").reject(server)
    machines = {
        "a": {"template": "tire-building-machine", "connection": f"opc.tcp://a:4840?pki={tmp_path / 'a'}"},
        "b": {"template": "tire-building-machine", "connection": {"url": "opc.tcp://b", "pki": str(tmp_path / "b")}},
    }
    factory = {
        "format": 1,
        "factory": {"enterprise": "acme", "site": "north"},
        "gateway": {"id": "edge"},
        "broker": {"url": "mqtt://localhost"},
        "lines": {"line": {"area": "area", "machines": machines}},
    }
    file = tmp_path / "factory.yaml"
    file.write_text(yaml.safe_dump(factory), encoding="utf-8")
    code, output = certs("list", file)
    assert code == 0
    assert str(tmp_path / "a") in output
    assert certs("trust", file, fingerprint(server))[0] == 0
    assert Pki(tmp_path / "b").store().trusted == (server,)
    assert certs("list", tmp_path / "none.yaml")[0] == 2


def test_each_change_of_trust_is_in_the_audit_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person who trusts a server lets it answer for a machine: the log says who did, and to which certificate."""
    monkeypatch.setenv("SUDO_USER", "ben")
    server, pki = make("press\u202e-7").certificate, Pki(tmp_path / "lineside-data" / "pki")
    pki.reject(server)
    file = tmp_path / "factory.yaml"
    file.write_text(
        "format: 1\nfactory: {enterprise: acme, site: north}\ngateway: {id: edge}\n"
        "broker: {url: 'mqtt://localhost'}\n"
        "lines: {one: {area: a, machines: {m: {template: curing-press, connection: 'modbus+tcp://10.0.0.1'}}}}\n"
    )
    assert certs("trust", file, "0" * 64)[0] == 1
    code, output = certs("trust", file, fingerprint(server))
    assert (code, "audit log" in output) == (0, False), output
    assert certs("reject", pki.folder, fingerprint(server))[0] == 0
    folder = tmp_path / "lineside-data" / "audit"
    trusted, rejected = (entry for entry in entries_of(folder) if entry["action"].startswith("certificate-"))
    assert (trusted["action"], trusted["object"]) == ("certificate-trusted", fingerprint(server))
    assert (trusted["from"], "(ben)" in trusted["who"], trusted["outcome"]) == ("command", True, "done")
    assert trusted["before"] == {"kind": "rejected", "folder": str(pki.folder)}
    assert trusted["after"]["kind"] == "trusted"
    assert trusted["after"]["uri"] == "urn:test:server"
    assert "\u202e" not in str(trusted)
    assert (rejected["action"], rejected["before"]["kind"]) == ("certificate-rejected", "trusted")
    assert verify(folder).broken is None
    ran = CliRunner().invoke(main, ["audit", "verify", str(file)])
    assert (ran.exit_code, "are right" in ran.output) == (0, True)


def entries_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in log_files(folder) for line in file.read_bytes().splitlines()]
