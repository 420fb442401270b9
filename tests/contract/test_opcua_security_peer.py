"""OPC UA security against node-opcua: what asyncua's client and server agree on, another server may see otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from opcua_peer import MACHINE, NodeOpcUa

import drivers
from drivers.base import Group, NotConnected
from drivers.opcua.driver import OpcUaDriver
from drivers.opcua.security.certificates import read_file, thumbprint
from drivers.opcua.security.pki import Pki
from drivers.opcua.settings import OpcUaSource
from gateway.common.clock import Clock

if TYPE_CHECKING:
    from pathlib import Path

PASSWORD = "s3cr3t-0f-the-Peer"
USER = {"username": "telemetry", "password": {"secret": "plc"}}


@pytest.fixture
def pki(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pki:
    monkeypatch.setenv("LINESIDE_SECRET_PLC", PASSWORD)
    return Pki(tmp_path / "pki")


def trust(pki: Pki, peer: NodeOpcUa) -> None:
    pki.trusted.mkdir(parents=True)
    (pki.trusted / "peer.pem").write_bytes(peer.certificate.read_bytes())


async def read(peer: NodeOpcUa, pki: Pki, **options: Any) -> object:
    written = {"url": peer.url, "namespace": MACHINE, "pki": str(pki.folder), "timeout": 20}
    connection = drivers.parse_connection(drivers.protocol("opcua"), written | options)
    source = OpcUaSource.model_validate({"node": "s=Scalar.Double", "mode": "poll"})
    group = Group("machine", connection, ("double",), (source,), 1.0)
    async with OpcUaDriver(connection, [group], Clock()) as reader:
        return (await reader.read(group)).values[0]


async def test_every_policy_in_either_mode_and_a_user_connect_and_read(tmp_path: Path, pki: Pki) -> None:
    """Also a password under a channel that does not encrypt, for the server by itself."""
    peer = await NodeOpcUa.start(tmp_path, users={"telemetry": PASSWORD})
    trust(pki, peer)
    for policy in ("Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"):
        for mode in ("sign", "sign_and_encrypt"):
            assert await read(peer, pki, security=policy, security_mode=mode) == 0.1
            assert await read(peer, pki, security=policy, security_mode=mode, **USER) == 0.1
    assert await read(peer, pki, security="none", **USER) == 0.1
    with pytest.raises(NotConnected, match="does not let user 'another' in"):
        await read(peer, pki, **USER | {"username": "another"})


async def test_a_server_that_does_not_know_us_shows_the_thumbprint_that_we_report(tmp_path: Path, pki: Pki) -> None:
    """It refuses the channel itself, with a fault in place of an answer; once it trusts us, we connect."""
    peer = await NodeOpcUa.start(tmp_path, trust=False)
    trust(pki, peer)
    with pytest.raises(NotConnected) as caught:
        await read(peer, pki)
    assert caught.value.fault.code == "0x80130000 BadSecurityChecksFailed"
    own = thumbprint(pki.own().certificate)
    assert f"let it trust {pki.certificate_file} (thumbprint {own})" in str(caught.value)
    [rejected] = (peer.certificates / "rejected").iterdir()
    assert thumbprint(read_file(rejected.read_bytes())) == own
    peer.control("trust")
    assert await read(peer, pki) == 0.1


async def test_a_server_that_does_not_offer_the_requested_security_is_refused(tmp_path: Path, pki: Pki) -> None:
    """The error names its offer, and the settings to write."""
    peer = await NodeOpcUa.start(tmp_path, policies=["Basic256Sha256"], modes=["SignAndEncrypt"], anonymous=False)
    trust(pki, peer)
    with pytest.raises(NotConnected, match="the server offers: Basic256Sha256 with sign_and_encrypt"):
        await read(peer, pki, security="Aes128_Sha256_RsaOaep")
    with pytest.raises(NotConnected, match="write security: auto"):
        await read(peer, pki, security="none")
    with pytest.raises(
        NotConnected, match="it takes no user by anonymous, only by name and password, user certificate"
    ):
        await read(peer, pki)
