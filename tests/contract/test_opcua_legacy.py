"""Deprecated policies and weak certificates, for devices that have nothing better: only by explicit choice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from asyncua import ua
from fakes.certificates import make, weak
from fakes.secure_opcua import Door, channels, driver_of, served
from opcua_peer import MACHINE, NodeOpcUa
from processes import free_port

from drivers.base import NotConnected
from drivers.opcua.security.certificates import read_file, thumbprint
from drivers.opcua.security.pki import Pki
from drivers.opcua.settings import OpcUaConnection

if TYPE_CHECKING:
    from pathlib import Path

    from fakes.certificates import Signed

BASIC256 = [ua.SecurityPolicyType.Basic256_Sign, ua.SecurityPolicyType.Basic256_SignAndEncrypt]
BASIC128 = [ua.SecurityPolicyType.Basic128Rsa15_Sign, ua.SecurityPolicyType.Basic128Rsa15_SignAndEncrypt]
ALLOWED = {"allow_insecure_legacy": "true"}


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path / "pki")


def trust(pki: Pki, own: Signed) -> Signed:
    pki.trusted.mkdir(parents=True, exist_ok=True)
    (pki.trusted / f"{thumbprint(own.certificate)}.der").write_bytes(own.der)
    return own


@pytest.mark.parametrize("policy", ["Basic256", "Basic128Rsa15"])
def test_a_deprecated_policy_is_refused_by_name_of_the_option(policy: str) -> None:
    """At `validate`, before anything is connected."""
    with pytest.raises(ValueError, match=r"deprecated.*also write allow_insecure_legacy: true"):
        OpcUaConnection.from_url("opc.tcp://plc:4840", {"security": policy})
    OpcUaConnection.from_url("opc.tcp://plc:4840", {"security": policy} | ALLOWED)


@pytest.mark.parametrize(("policy", "offered"), [("Basic256", BASIC256), ("Basic128Rsa15", BASIC128)])
@pytest.mark.parametrize("mode", ["sign", "sign_and_encrypt"])
async def test_a_deprecated_policy_connects_where_it_is_allowed(
    pki: Pki, policy: str, offered: list[ua.SecurityPolicyType], mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a user, whose password the policy encrypts; and each machine is warned of."""
    monkeypatch.setenv("LINESIDE_SECRET_PLC", "s3cr3t")
    port, door = free_port(), Door({"telemetry": "s3cr3t"})
    user = {"username": "telemetry", "password": {"secret": "plc"}}
    async with (
        served(port, trust(pki, weak(make(), "sha1")), offered, door=door) as serving,
        driver_of(port, pki, security=policy, security_mode=mode, **user, **ALLOWED) as driver,
    ):
        assert (await driver.read(driver.groups[0])).values == [12.5]
        [(found, _)] = channels(serving)
        [warning] = driver.warnings()
    assert found == policy
    assert warning.machine == "machine"
    assert "allow_insecure_legacy" in warning.text
    assert policy in warning.text
    assert door.came[-1] == ("telemetry", "s3cr3t")


async def refusal(port: int, pki: Pki, **options: Any) -> str:
    driver = driver_of(port, pki, **options)
    with pytest.raises(NotConnected) as caught:
        await driver.connect()
    await driver.close()
    return str(caught.value)


async def test_a_deprecated_policy_is_never_the_strongest(pki: Pki) -> None:
    """Somebody on the way could hide all others."""
    port = free_port()
    async with served(port, trust(pki, make()), [*BASIC256, *BASIC128]):
        for options in ({}, ALLOWED):
            text = await refusal(port, pki, **options)
            assert "or write security: Basic256 and allow_insecure_legacy: true" in text


@pytest.mark.parametrize(
    ("own", "why"),
    [(weak(make(), "sha1"), "signed with sha1"), (make("short", bits=1024), "its key has 1024 bits")],
    ids=["sha1", "1024 bits"],
)
async def test_a_weak_certificate_is_refused_unless_it_is_allowed(pki: Pki, own: Signed, why: str) -> None:
    """Under any policy; the error names the option."""
    port = free_port()
    trust(pki, own)
    offered = [ua.SecurityPolicyType.Basic256_SignAndEncrypt, ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt]
    async with served(port, own, offered):
        text = await refusal(port, pki)
        assert why in text
        assert "needs allow_insecure_legacy: true" in text
        async with driver_of(port, pki, security="Basic256", **ALLOWED) as driver:
            assert (await driver.read(driver.groups[0])).values == [12.5]


async def test_a_certificate_with_md5_is_never_accepted(pki: Pki) -> None:
    """Anybody can make another certificate with the same signature."""
    port = free_port()
    async with served(port, trust(pki, weak(make(), "md5")), BASIC256):
        text = await refusal(port, pki, security="Basic256", **ALLOWED)
    assert "it is signed with md5, which is broken" in text
    assert "allow_insecure_legacy" not in text


async def test_node_opcua_with_a_deprecated_policy_is_read(pki: Pki, tmp_path: Path) -> None:
    """A stack other than that of the driver."""
    peer = await NodeOpcUa.start(tmp_path, policies=["Basic256"], modes=["SignAndEncrypt"])
    pki.trusted.mkdir(parents=True)
    certificate = read_file(peer.certificate.read_bytes())
    (pki.trusted / f"{thumbprint(certificate)}.pem").write_bytes(peer.certificate.read_bytes())
    options = {"security": "Basic256", "namespace": MACHINE, "node": "s=Setpoint"}
    async with driver_of(peer.port, pki, **options, **ALLOWED) as driver:
        assert (await driver.read(driver.groups[0])).values == [50.0]
