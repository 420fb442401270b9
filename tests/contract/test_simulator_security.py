"""Simulated OPC UA servers are as secure as they are configured, and the written configuration is let in."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from asyncua import Client, ua
from simulated import configure, connected, read_all, simulated

from drivers.base import NotConnected
from drivers.opcua.security.pki import Pki
from gateway.acquisition.groups import groups_of
from simulators.ports import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings.factory import Factory, Machine

DRUM = {
    "protocol": "opcua",
    "points": {"speed": {"node": "s=Drum.Speed", "type": "float", "unit": "r/min", "range": [0, 60]}},
}
USER = {"username": "telemetry", "password": {"secret": "plc_of_the_plant"}}
POLICIES = ("Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss")


def drums(folder: Path, **connections: Any) -> Path:
    machines = {
        name: {
            "template": "drum",
            "connection": {"url": f"opc.tcp://10.0.0.{i}:4840", "namespace": f"urn:{name}"} | connection,
        }
        for i, (name, connection) in enumerate(connections.items(), 1)
    }
    return configure(folder, {"drum": DRUM}, machines)


def named(factory: Factory, name: str) -> Machine:
    return next(one for one in factory.machines if one.path.machine == name)


async def offered(machine: Machine) -> set[tuple[str, str]]:
    """Return policies and modes, as a client of another make sees them."""
    found = await Client(machine.connection.url, timeout=20).connect_and_get_server_endpoints()  # type: ignore[attr-defined]
    return {((one.SecurityPolicyUri or "").rpartition("#")[2], one.SecurityMode.name) for one in found}


async def used(machine: Machine) -> tuple[str, ua.MessageSecurityMode]:
    """Connect a driver, read with it, and return policy and mode of its channel."""
    groups = [group for group, _ in groups_of(machine)]
    async with connected(machine, groups) as driver:
        scan = await driver.receive()
        assert scan.faults == {}
        policy = driver._session.client.security_policy  # type: ignore[attr-defined] # noqa: SLF001 - shown nowhere else
        return policy.URI.rpartition("#")[2], policy.Mode


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("mode", "name"), [("sign", "Sign"), ("sign_and_encrypt", "SignAndEncrypt")])
async def test_a_policy_and_a_mode_are_served_as_configured(tmp_path: Path, policy: str, mode: str, name: str):
    """No other is offered, and the gateway connects with it."""
    config = drums(tmp_path, d1={"security": policy, "security_mode": mode})
    async with simulated(tmp_path, config) as factory:
        machine = named(factory, "d1")
        assert await used(machine) == (policy, ua.MessageSecurityMode[name])
        assert await offered(machine) == {(policy, name)}


async def test_where_nothing_is_written_every_policy_is_offered_and_the_strongest_used(tmp_path: Path):
    """`auto` is the default."""
    async with simulated(tmp_path, drums(tmp_path, d1={})) as factory:
        machine = named(factory, "d1")
        assert await used(machine) == (POLICIES[2], ua.MessageSecurityMode.SignAndEncrypt)
        assert await offered(machine) == {(policy, "SignAndEncrypt") for policy in POLICIES}


async def test_users_come_in_by_credentials_that_were_made_for_the_run(tmp_path: Path):
    """Passwords and certificates: nobody needs those of the real machines, and none is in the configuration."""
    config = drums(
        tmp_path,
        d1=USER,
        d2=USER | {"security": "none"},
        d3=USER | {"security_mode": "sign"},
        d4={"user_certificate": "/etc/plant/user.der", "user_key": "/etc/plant/user.pem"},
    )
    async with simulated(tmp_path, config) as factory:
        readings = await read_all(factory)
        assert {name: one["speed"].fault for name, one in readings.items()} == dict.fromkeys(readings)
        written = (tmp_path / "moved.yaml").read_text()
        made = yaml.safe_load(written)["lines"]["line"]["machines"]["d1"]["connection"]["password"]["file"]
        password = (tmp_path / "moved.yaml.pki/users/telemetry.password").read_text()
    assert made == str(tmp_path / "moved.yaml.pki/users/telemetry.password")
    assert len(password) > 20
    assert password not in written
    assert "plc_of_the_plant" not in written
    assert "/etc/plant" not in written


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"username": "other"}, "it does not let user 'other' in"),
        ({"username": None, "password": None}, "it takes no user by anonymous"),
        ({"pki": "other"}, "it is not trusted"),
    ],
)
async def test_nobody_else_is_let_in(tmp_path: Path, changed: dict[str, Any], message: str):
    """A simulated server that accepts every client would hide mistakes of a configuration."""
    async with simulated(tmp_path, drums(tmp_path, d1=USER)) as factory:
        machine = named(factory, "d1")
        groups = [group for group, _ in groups_of(machine)]
        async with connected(machine, groups):
            pass
        if "pki" in changed:
            changed = {"pki": tmp_path / "other"}
        connection = machine.connection.model_copy(update=changed)
        driver = machine.protocol.driver(connection.shared(), groups, lambda: 0)
        with pytest.raises(NotConnected, match=re.escape(message)):
            await driver.connect()
        await driver.close()


async def test_on_configured_ports_the_certificate_is_refused_until_somebody_trusts_it(tmp_path: Path):
    """As at any machine that is new; the configuration is that of the plant, and is not changed."""
    url = f"opc.tcp://127.0.0.1:{free_port()}"
    config = drums(tmp_path, d1={"url": url, "pki": str(tmp_path / "pki")})
    async with simulated(tmp_path, config, free_ports=False) as factory:
        machine = named(factory, "d1")
        groups = [group for group, _ in groups_of(machine)]
        error = ""
        while "lineside certs trust" not in error:
            driver = machine.protocol.driver(machine.connection.shared(), groups, lambda: 0)
            with pytest.raises(NotConnected) as caught:
                await driver.connect()
            await driver.close()
            error = str(caught.value)
        assert "Lineside simulator" in error
        Pki(tmp_path / "pki").trust(error.split()[-1])
        assert (await used(machine))[0] == POLICIES[2]
