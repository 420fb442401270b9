"""The policy of a machine: the limits of a configuration there, no matter who wrote it."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from rights import with_policy

from gateway.common.public_keys import public_text
from gateway.settings.host_patterns import HostPattern
from gateway.settings.load import load_factory
from gateway.settings.overrides import parse_override
from gateway.settings.policy import VARIABLE, Untrusted, read_policy
from gateway.settings.problems import ConfigurationError
from gateway.settings.secret_bindings import SecretBindings
from gateway.settings.signature import sign, signature_file, signed_files
from gateway.settings.signature_memory import Service

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = with_policy

FACTORY = """
format: 1
factory: {enterprise: acme, site: north}
gateway: {id: edge-01, confirm_key: {secret: confirm_key}}
broker:
  url: mqtts://broker.example:8883
  username: edge-01
  password: {secret: broker_password}
stores:
  - influxdb: {url: "https://tsdb.example", bucket: plant, token: {secret: influx_token}}
include: [lines/*.yaml]
"""

LINES = """
format: 1
lines:
  one:
    area: area
    machines:
      m-01: {template: press, connection: "modbus+tcp://10.20.1.11?unit=1"}
      m-02:
        template: server
        connection: {url: "opc.tcp://10.20.2.21:4840", username: u, password: {secret: opcua_password}}
"""

PRESS = """
format: 1
protocol: modbus
points:
  pressure: {address: holding 10, type: float, unit: bar, every: 1s}
"""

SERVER = """
format: 1
protocol: opcua
points:
  pressure: {node: "ns=2;s=P", type: float, unit: bar, every: 1s}
"""

POLICY = """
format: 1
hosts:
  broker: mqtts://broker.example:8883
  stores: ["https://tsdb.example"]
  devices: [10.20.0.0/16]
secrets:
  broker_password: broker
  influx_token: {for: stores, hosts: tsdb.example}
  opcua_password: devices
  confirm_key: gateway
secret_folders: [/run/secrets]
"""


class Plant:
    """A configuration in several files, and the policy of its machine."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "factory.yaml"
        self.lines = folder / "lines" / "one.yaml"
        self.press = folder / "machines" / "press.yaml"
        self.policy = folder / "etc" / "policy.yaml"
        for file, text in (
            (self.file, FACTORY), (self.lines, LINES), (self.press, PRESS),
            (folder / "machines" / "server.yaml", SERVER), (self.policy, POLICY),
        ):  # fmt: skip
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)

    def change(self, file: Path, old: str, new: str) -> None:
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    def refusals(self, *, service: Service | None = None) -> list[str]:
        with pytest.raises(Untrusted) as caught:
            load_factory(self.file, service=service)
        return [str(problem) for problem in caught.value.problems]


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plant:
    made = Plant(tmp_path)
    monkeypatch.setenv(VARIABLE, str(made.policy))
    return made


def test_what_the_policy_allows_is_loaded(plant: Plant) -> None:
    """Without this the other tests would show nothing."""
    assert len(load_factory(plant.file).machines) == 2


def test_another_broker_does_not_get_the_token_of_a_store(plant: Plant) -> None:
    """The attack: two lines of YAML, and the token of another service would be sent away."""
    token = plant.file.parent / "other_token"
    token.write_text("TOKEN")
    plant.change(plant.file, "mqtts://broker.example:8883", "mqtt://evil.example")
    plant.change(plant.file, "{secret: broker_password}", f"{{file: {token}}}")
    url, folder, unlisted = plant.refusals()
    assert url.startswith(f"{plant.file}:5:")
    assert "mqtt://evil.example is not one of the hosts for broker; hosts.broker allows" in url
    assert "mqtts://broker.example:8883" in url
    assert f"{plant.policy}" in url
    assert f"{token} is not in a folder for secrets; the folders for secrets are /run/secrets" in folder + unlisted
    assert "unknown secret" in folder + unlisted
    assert all(one.startswith(f"{plant.file}:8:") for one in (folder, unlisted))


def test_protocols_without_authentication_are_refused(plant: Plant) -> None:
    """A plant whose devices all have TLS or OPC UA keeps it so; a device on this box crosses no network."""
    plant.change(plant.policy, "format: 1", "format: 1\nunauthenticated_protocols: refuse")
    (refused,) = plant.refusals()
    assert refused.startswith(f"{plant.lines}:7:")
    assert "modbus+tcp proves neither an identity nor integrity" in refused
    assert "use modbus+tls, or opc.tcp with security" in refused
    plant.change(plant.lines, "modbus+tcp://10.20.1.11?unit=1", "modbus+tls://10.20.1.11?unit=1")
    assert len(load_factory(plant.file).machines) == 2
    plant.change(plant.lines, ", username: u, password: {secret: opcua_password}", ", security: none, insecure: true")
    assert "opc.tcp without security proves neither" in plant.refusals()[0]


@pytest.mark.parametrize(
    ("connection", "allowed"),
    [
        ("modbus+tcp://10.20.1.11?unit=1", True), ("modbus+tcp://10.20.9.11?unit=1", False),
        ("modbus+udp://plc-1.field.example?unit=1", True), ("modbus+tls://10.20.9.11?unit=1", True),
        ("modbus+tcp://10.20.1.11?unit=1&backup=10.20.9.11", False), ("modbus+rtu:///dev/ttyS0?unit=1", True),
        ("modbus+listen://10.20.1.1:1502?unit=1&peer=10.20.1.0/28", True),
        ("modbus+listen://10.20.1.1:1502?unit=1", False),
    ],
)  # fmt: skip
def test_they_are_allowed_in_their_networks_alone(plant: Plant, connection: str, *, allowed: bool) -> None:
    """The network of the fieldbus compensates for the protocol, so a machine elsewhere is an error."""
    networks = "format: 1\nfieldbus_networks: [10.20.1.0/24, '*.field.example']"
    plant.change(plant.policy, "format: 1", networks)
    plant.change(plant.policy, "  devices: [10.20.0.0/16]\n", "  devices: ['*', 0.0.0.0/0]\n")
    plant.change(plant.lines, "modbus+tcp://10.20.1.11?unit=1", connection)
    if allowed:
        assert len(load_factory(plant.file).machines) == 2
        return
    refused = [one for one in plant.refusals() if "is not in a network for modbus" in one]
    assert refused
    assert "fieldbus_networks allows 10.20.1.0/24, *.field.example" in refused[0]


def test_networks_for_refused_protocols_are_a_mistake(plant: Plant) -> None:
    """A policy that says two things is not guessed at."""
    both = "format: 1\nunauthenticated_protocols: refuse\nfieldbus_networks: [10.20.1.0/24]"
    plant.change(plant.policy, "format: 1", both)
    assert "write one" in plant.refusals()[0]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("mqtts://broker", "mqtt://broker", "mqtt://broker.example:8883 is not one of the hosts for broker"),
        (":8883", ":9999", "mqtts://broker.example:9999 is not one of the hosts"),
        ("{secret: broker_password}", "{secret: influx_token}", "influx_token is for stores, and not for broker"),
        ("{secret: broker_password}", "{secret: broker_pasword}", "did you mean 'broker_password'?"),
        ("{secret: broker_password}", "{file: /run/secrets/influx_token}", "is for stores, and not for broker"),
        ("{secret: broker_password}", "{file: /run/secrets/../shadow}", "is not in a folder for secrets"),
        ("https://tsdb.example", "https://tsdb.example.evil", "tsdb.example.evil is not one of the hosts"),
        ("  username:", "  backup: mqtts://evil.example\n  username:", "mqtts://evil.example is not one"),
        ("include:", "dashboard: {audit: {syslog: 'tls://evil.example'}}\ninclude:", "hosts.syslog allows none"),
        (
            "include:",
            "dashboard: {oidc: {issuer: 'https://evil.example', client_id: x, roles: {viewer: [a]}}}\ninclude:",
            "hosts.identity_provider allows none",
        ),
    ],
)  # fmt: skip
def test_each_way_out_is_closed(plant: Plant, old: str, new: str, message: str) -> None:
    """Encryption, ports, backups and every kind of server are ways that a secret can go."""
    plant.change(plant.file, old, new)
    assert message in "\n".join(plant.refusals())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("10.20.1.11", "10.21.1.11", "modbus+tcp://10.21.1.11:502 is not one of the hosts for devices"),
        ("unit=1", "unit=1&backup=evil.example", "modbus+tcp://evil.example:502 is not one"),
        ("10.20.2.21", "010.20.2.21.evil", "is not one of the hosts for devices"),
        ("{secret: opcua_password}", "{secret: broker_password}", "is for broker, and not for devices"),
        ("modbus+tcp://10.20.1.11?unit=1", "modbus+listen://0.0.0.0:1502?unit=1", "peer://* is not one of the hosts"),
    ],
)
def test_devices_are_checked_with_their_place_in_the_included_file(
    plant: Plant, old: str, new: str, message: str
) -> None:
    """Most hosts of a factory are those of machines, and a password goes to each that has one."""
    plant.change(plant.lines, old, new)
    found = plant.refusals()
    assert message in found[0]
    assert found[0].startswith(f"{plant.lines}:")


def test_a_link_into_or_out_of_a_folder_of_secrets_is_refused(plant: Plant, tmp_path: Path) -> None:
    """The owner of a link can change its end between the check and the start."""
    folder, other = tmp_path / "allowed", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    for place, end in ((other, folder), (folder, other)):
        (end / "broker_password").write_text("x")
        link = place / "broker_password"
        link.unlink(missing_ok=True)
        link.symlink_to(end / "broker_password")
        plant.policy.write_text(f"format: 1\nsecret_folders: [{folder}]\n")
        plant.file.write_text(FACTORY.replace("{secret: broker_password}", f"{{file: {link}}}"))
        assert "is not in a folder for secrets" in "\n".join(plant.refusals())
        link.unlink()
    (folder / "broker_password").write_text("x")
    plant.file.write_text(FACTORY.replace("{secret: broker_password}", f"{{file: {folder}/broker_password}}"))
    load_factory(plant.file)


def test_a_section_that_is_not_written_allows_everything(plant: Plant) -> None:
    """A policy can be introduced part by part."""
    plant.policy.write_text("format: 1\n")
    plant.change(plant.file, "mqtts://broker.example:8883", "mqtts://other.example")
    load_factory(plant.file, service=Service.GATEWAY)


@pytest.mark.parametrize("allowed", ["edge-01", "[edge-09, edge-01]", "edge-0?", "['*']"])
def test_the_gateway_of_this_machine_is_loaded(plant: Plant, allowed: str) -> None:
    """An id, a list of ids, or patterns for a plant that names its gateways by a rule."""
    plant.policy.write_text(f"{POLICY}gateways: {allowed}\n")
    load_factory(plant.file)


@pytest.mark.parametrize(
    ("allowed", "shown"),
    [
        ("edge-02", "edge-02"), ("[press-*, edge-0]", "press-*, edge-0"), ("EDGE-01", "EDGE-01"), ("[]", "none"),
        ("[a, b, c, d, e, f]", "a, b, c, d, e, ..."),
    ],
)  # fmt: skip
def test_the_configuration_of_a_gateway_of_another_machine_is_refused(plant: Plant, allowed: str, shown: str) -> None:
    """The message names the place of the id, and what the policy allows."""
    plant.policy.write_text(f"{POLICY}gateways: {allowed}\n")
    [problem] = plant.refusals()
    assert problem == (
        f"{plant.file}:4:11: gateway.id: edge-01 is not a gateway of this machine; gateways allows {shown} "
        f"(policy {plant.policy})"
    )


def test_an_id_of_the_command_line_or_of_a_variable_is_compared(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway that would run counts, and not the text of the file."""
    plant.policy.write_text(f"{POLICY}gateways: edge-01\n")
    with pytest.raises(Untrusted, match="edge-02 is not a gateway of this machine"):
        load_factory(plant.file, [parse_override("gateway.id=edge-02")])
    plant.change(plant.file, "id: edge-01", "id: '${BOX}'")
    monkeypatch.setenv("BOX", "edge-03")
    assert "edge-03 is not a gateway of this machine" in plant.refusals()[0]
    monkeypatch.setenv("BOX", "edge-01")
    load_factory(plant.file)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda file: file.chmod(0o664), "others than root can write it; run chmod go-w"),
        (lambda file: file.chmod(0o646), "others than root can write it"),
        (lambda file: os.chown(file, 65534, 0), "belongs to user id 65534"),
        (lambda file: (file.rename(f"{file}.x"), file.symlink_to(f"{file}.x")), "is a symbolic link"),
        (lambda file: file.parent.chmod(0o777), "others than root can exchange the policy in this folder"),
        (lambda file: os.chown(file.parent, 65534, 0), "others than root can exchange the policy in this folder"),
        (lambda file: file.unlink(), "can't be read: No such file"),
        (lambda file: (file.unlink(), file.mkdir()), "is not a regular file"),
        (lambda file: file.write_text("format: 1\nhots: {}\n"), "did you mean 'hosts'?"),
        (lambda file: file.write_text("format: 1\nhosts: {broker: 'a b'}\n"), "is not a pattern of hosts"),
        (lambda file: file.write_text("format: 1\nhosts: {devices: 10.20.1.1/16}\n"), "is not a network"),
        (lambda file: file.write_text("format: 1\nsecrets: {a: brokr}\n"), "broker"),
        (lambda file: file.write_text("format: 1\nsecret_folders: [secrets]\n"), "write an absolute path"),
        (lambda file: file.write_text("format: 1\ngateways: [edge/01]\n"), "is not a pattern of gateways"),
        (lambda file: file.write_text("format: 1\ngateways: 1\n"), "gateways"),
        (lambda file: file.write_text("format: 2\n"), "format"),
        (lambda file: file.write_bytes(b"format: \xff"), "is not UTF-8"),
    ],
)  # fmt: skip
def test_a_policy_that_is_not_one_of_root_is_refused_with_the_reason(
    plant: Plant, spoil: object, message: str
) -> None:
    """Nothing is loaded then: a user who could write it would decide."""
    assert callable(spoil)
    spoil(plant.policy)
    with pytest.raises(Untrusted) as caught:
        load_factory(plant.file)
    [problem, *_] = caught.value.problems
    assert message in str(problem)
    assert problem.file in {plant.policy, plant.policy.parent}


def test_a_link_on_the_way_to_the_policy_counts_like_its_folder(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person who can exchange the link leads to another policy of root, such as an earlier copy."""
    open_folder = tmp_path / "open"
    open_folder.mkdir()
    for name, target in (("first", "second"), ("second", plant.policy.parent)):
        (open_folder / name).symlink_to(target)
    monkeypatch.setenv(VARIABLE, str(open_folder / "first" / "policy.yaml"))
    load_factory(plant.file)
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "link").symlink_to(plant.policy.parent)
    (open_folder / "second").unlink()
    (open_folder / "second").symlink_to(tmp_path / "far" / "link")
    for folder in (open_folder, tmp_path / "far"):
        load_factory(plant.file)
        folder.chmod(0o777)
        [problem] = plant.refusals()
        assert problem.startswith(f"{folder}:1:1: others than root can exchange the policy in this folder")
        folder.chmod(0o755)


def test_a_policy_that_can_not_be_seen_is_not_a_missing_policy(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that this user may not look into, or links in a circle, must not switch the policy off."""
    monkeypatch.delenv(VARIABLE)
    (tmp_path / "circle").symlink_to("circle")
    monkeypatch.setattr("gateway.settings.policy.FILE", tmp_path / "circle" / "policy.yaml")
    [problem] = plant.refusals()
    assert "links" in problem
    (tmp_path / "locked").mkdir(mode=0o700)
    monkeypatch.setattr("gateway.settings.policy.FILE", tmp_path / "locked" / "policy.yaml")
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if folder.is_relative_to("/tmp"):  # noqa: S108 - where tests of pytest are
            folder.chmod(0o755)
    os.seteuid(65534)
    try:
        with pytest.raises(Untrusted, match="Permission denied"):
            read_policy()
    finally:
        os.seteuid(0)
    assert read_policy() is None


def test_a_link_does_not_make_a_secret_another_secret(plant: Plant, tmp_path: Path) -> None:
    """The attack: a link with the name of a secret of the store, to the password of the broker."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for name in ("broker_password", "influx_token"):
        (secrets / name).write_text(name)
    plant.change(plant.policy, "secret_folders: [/run/secrets]\n", "")
    written = f"{{file: {tmp_path}/mine/influx_token}}"
    plant.change(plant.file, "{secret: influx_token}", written)
    (tmp_path / "mine").mkdir()
    link = tmp_path / "mine" / "influx_token"
    link.symlink_to(secrets / "broker_password")
    [refused] = plant.refusals()
    assert f"the secret {link} is for broker, and not for stores" in refused
    link.unlink()
    link.symlink_to(secrets / "influx_token")  # as Kubernetes does
    load_factory(plant.file)


def test_links_in_a_circle_are_a_clear_refusal(plant: Plant, tmp_path: Path) -> None:
    """A person who can write a folder of the configuration must not end a command with a trace."""
    (tmp_path / "circle").symlink_to("circle")
    plant.change(plant.file, "{secret: influx_token}", f"{{file: {tmp_path}/circle}}")
    folder, secret = plant.refusals()
    assert "is not in a folder for secrets" in folder
    assert "circle" in secret


@pytest.mark.parametrize("place", ["sig", "include", "main"])
def test_a_pipe_in_the_folder_does_not_stop_a_service(plant: Plant, place: str) -> None:
    """Nobody writes to it, so a service that read it would wait without end, and could not be stopped."""
    plant.policy.write_text(f"format: 1\nsigners: {{anna: {'A' * 43}=}}\n")
    file = {"sig": signature_file(plant.file), "include": plant.lines.with_name("two.yaml"), "main": plant.file}[
        place
    ]
    file.unlink(missing_ok=True)
    os.mkfifo(file)
    with pytest.raises(ConfigurationError) as caught:
        load_factory(plant.file, service=Service.GATEWAY)
    assert any(
        problem.file == file and "is not a regular file" in problem.message for problem in caught.value.problems
    )


def test_without_a_policy_everything_is_as_it_was(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an option."""
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr("gateway.settings.policy.FILE", plant.file.parent / "none.yaml")
    assert read_policy() is None
    load_factory(plant.file, service=Service.GATEWAY)


# -- secrets without a policy --


def test_a_secret_for_two_things_is_a_warning(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker would know the token of the store."""
    monkeypatch.delenv(VARIABLE)
    plant.change(plant.file, "{secret: influx_token}", "{secret: broker.password}")
    [warning] = load_factory(plant.file).warnings
    assert "the secret broker.password is used for broker, too" in str(warning)
    assert str(warning).startswith(f"{plant.file}:10:")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("mqtts://broker.example:8883", "mqtts://evil.example"),
        ("mqtts://broker", "mqtt://broker"),
        ("{secret: broker_password}", "{file: other_token}"),
        ("{secret: broker_password}", "{secret: influx_token}"),
    ],
)
def test_a_reload_sends_a_secret_to_no_other_server(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, old: str, new: str
) -> None:
    """Without a policy a start is trusted; the file of a running gateway can be changed by more people."""
    monkeypatch.delenv(VARIABLE)
    bindings = SecretBindings(load_factory(plant.file))
    bindings.check(load_factory(plant.file))
    plant.change(plant.file, old, new)
    with pytest.raises(Untrusted, match=r"was not sent to mqtts?://.* before; if that is right, restart the gateway"):
        bindings.check(load_factory(plant.file))


def test_a_reload_adds_machines_with_their_passwords(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """This is the most frequent reload; but it gives no machine the secret of the broker, or any file."""
    monkeypatch.delenv(VARIABLE)
    bindings = SecretBindings(load_factory(plant.file))
    added = "      m-03: {template: server, connection: {url: 'opc.tcp://10.20.2.22', username: u, password: %s}}\n"
    for secret, is_right in (
        ("{secret: opcua_password}", True), ("{secret: press_password}", True),
        ("{secret: broker_password}", False), ("{secret: broker.password}", False), ("{file: /etc/hostname}", False),
    ):  # fmt: skip
        plant.lines.write_text(LINES + added % secret)
        if is_right:
            bindings.check(load_factory(plant.file))
        else:
            with pytest.raises(Untrusted, match="was not sent to devices before"):
                bindings.check(load_factory(plant.file))


# -- the signature --


@pytest.fixture
def key(plant: Plant) -> Ed25519PrivateKey:
    """The key of a signer of the policy, who has signed the configuration."""
    made = Ed25519PrivateKey.generate()
    plant.policy.write_text(f"{POLICY}signers:\n  anna: {public_text(made.public_key())}\n")
    signature_file(plant.file).write_bytes(sign(load_factory(plant.file), made))
    return made


@pytest.mark.usefixtures("key")
def test_a_signed_configuration_is_loaded(plant: Plant) -> None:
    """Also after line ends were changed, as version control does; and the signature covers every file."""
    plant.press.write_bytes(plant.press.read_bytes().replace(b"\n", b"\r\n"))
    factory = load_factory(plant.file, service=Service.GATEWAY)
    assert sorted(signed_files(factory)) == [
        "factory.yaml", "lines/one.yaml", "machines/press.yaml", "machines/server.yaml",
    ]  # fmt: skip


@pytest.mark.usefixtures("key")
def test_each_changed_added_or_removed_file_is_named(plant: Plant) -> None:
    """The set of files counts: a file more would be a machine more."""
    plant.change(plant.press, "unit: bar", "unit: mbar")
    other = plant.lines.with_name("two.yaml")
    other.write_text(LINES.replace("one:", "two:"))
    added, changed = plant.refusals(service=Service.GATEWAY)
    assert f"{plant.press}:1:1: was changed after anna had signed it at " in changed
    assert "review it, and sign it: lineside sign" in changed
    assert f"{other}:1:1: was added after anna" in added
    plant.press.write_text(PRESS)
    plant.lines.unlink()
    removed, added = plant.refusals(service=Service.GATEWAY)
    assert removed.startswith(f"{plant.lines}:1:1: is signed, and was removed after anna")
    assert added.startswith(f"{other}:1:1: was added")
    assert load_factory(plant.file), "commands that look at it need no signature"


def test_a_template_of_ones_own_does_not_replace_one_of_lineside(plant: Plant) -> None:
    """A bundled template is not signed, so a file of the same name in the plant's folder counts as added."""
    plant.change(plant.lines, "template: press,", "template: curing-press,")
    made = Ed25519PrivateKey.generate()
    plant.policy.write_text(f"format: 1\nsigners: {{anna: {public_text(made.public_key())}}}\n")
    signature_file(plant.file).write_bytes(sign(load_factory(plant.file), made))
    assert "machines/curing-press.yaml" not in signed_files(load_factory(plant.file, service=Service.GATEWAY))
    (plant.press.parent / "curing-press.yaml").write_text(PRESS)
    [problem] = plant.refusals(service=Service.GATEWAY)
    assert "was added after anna" in problem


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda *_: None, "is not signed, which"),
        (lambda *_: "{}", "is not a signature of a configuration"),
        (lambda text, _: text.replace('"time": "2', '"time": "3'), "the signature is wrong"),
        (lambda text, _: text.replace("lines/one.yaml", "lines/two.yaml"), "the signature is wrong"),
        (lambda text, key: text.replace(key, public_text(Ed25519PrivateKey.generate().public_key())), "may not sign"),
    ],
)
def test_a_signature_that_is_not_right_is_refused(
    plant: Plant, key: Ed25519PrivateKey, spoil: object, message: str
) -> None:
    """The message says what to do."""
    assert callable(spoil)
    file = signature_file(plant.file)
    content = spoil(file.read_text(), public_text(key.public_key()))
    file.unlink() if content is None else file.write_text(content)
    [problem] = plant.refusals(service=Service.GATEWAY)
    assert message in problem


def test_the_signature_of_another_configuration_is_refused(plant: Plant, key: Ed25519PrivateKey) -> None:
    """A file that a person has signed does not run everywhere under any name."""
    other = plant.file.with_name("other.yaml")
    other.write_text(FACTORY)
    signature_file(plant.file).write_bytes(sign(load_factory(other), key))
    [problem] = plant.refusals(service=Service.GATEWAY)
    assert "was signed as other.yaml" in problem


def test_a_signed_configuration_of_another_gateway_is_refused_under_the_same_name(
    plant: Plant, key: Ed25519PrivateKey
) -> None:
    """The attack: the files of another machine, which the same person has signed later."""
    plant.policy.write_text(f"{plant.policy.read_text()}gateways: edge-01\n")
    load_factory(plant.file, service=Service.GATEWAY)
    plant.change(plant.file, "id: edge-01", "id: edge-02")
    plant.policy.rename(stored := plant.policy.with_name("stored"))
    plant.policy.write_text("format: 1\n")  # as on the computer of the signer
    signature_file(plant.file).write_bytes(sign(load_factory(plant.file), key))
    stored.rename(plant.policy)
    for service in (None, *Service):
        [problem] = plant.refusals(service=service)
        assert "edge-02 is not a gateway of this machine; gateways allows edge-01" in problem


def test_the_middle_line_of_a_public_key_in_pem_is_the_key_of_a_policy(plant: Plant) -> None:
    """It can be copied from what `openssl pkey -pubout` prints."""
    made = Ed25519PrivateKey.generate()
    pem = made.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    plant.policy.write_text(f"format: 1\nsigners: {{anna: {pem.splitlines()[1]}}}\n")
    signature_file(plant.file).write_bytes(sign(load_factory(plant.file), made))
    load_factory(plant.file, service=Service.GATEWAY)


# -- patterns --


@pytest.mark.parametrize(
    ("pattern", "url", "is_meant"),
    [
        ("broker.example", "mqtts://broker.example", True),
        ("broker.example", "mqtt://BROKER.example.:1", True),
        ("broker.example", "mqtt://broker.example.evil", False),
        ("broker.example", "mqtt://evil-broker.example", False),
        ("*.plant.example", "opc.tcp://a.b.plant.example:4840", True),
        ("*.plant.example", "opc.tcp://plant.example:4840", False),
        ("mqtts://broker.example", "mqtt://broker.example", False),
        ("mqtts://broker.example:8883", "mqtts://broker.example", True),
        ("broker.example:1", "mqtts://broker.example", False),
        ("10.20.0.0/16", "modbus+tcp://10.20.255.1:502", True),
        ("10.20.0.0/16", "modbus+tcp://10.21.0.1:502", False),
        ("10.20.0.0/16", "modbus+tcp://10.20.0.1.evil:502", False),
        ("10.20.0.0/16", "peer://10.20.4.0/24", True),
        ("10.20.0.0/16", "peer://10.0.0.0/8", False),
        ("10.20.0.0/16", "peer://*", False),
        ("fd00::/8", "mqtt://[fd00::11]:1883", True),
        ("[fd00::11]", "mqtt://[FD00:0:0:0:0:0:0:11]", True),
        ("10.20.0.0/16", "mqtt://[fd00::11]", False),
    ],
)
def test_a_pattern_means_these_hosts(pattern: str, url: str, *, is_meant: bool) -> None:
    """A name is compared as a whole, and never looked up."""
    assert HostPattern.parse(pattern).matches(url) is is_meant


@given(st.text(max_size=60))
def test_any_text_is_a_pattern_or_a_clear_error(text: str) -> None:
    """Never an error of another kind."""
    with suppress(ValueError):
        HostPattern.parse(text).matches("mqtt://broker.example")
