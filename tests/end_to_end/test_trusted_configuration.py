"""A configuration that is not trusted is not run, and not reloaded; the gateway goes on, and says so everywhere."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
from typing import TYPE_CHECKING, Any

import pytest
from chaos.machines import Machines
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from processes import Lineside, lineside, until, write_factory
from rights import with_policy
from servers import Mosquitto

from gateway.common.public_keys import public_text
from gateway.settings.policy import VARIABLE
from gateway.settings.signature import signature_file
from gateway.settings.signature_memory import memory_file

if TYPE_CHECKING:
    from pathlib import Path

    from processes import Ran

SECONDS = 30.0


class Box:
    """A gateway on a machine with a policy."""

    def __init__(self, folder: Path, machines: Machines, broker: Mosquitto) -> None:
        self.folder = folder
        self.config = folder / "factory.yaml"
        self.spool = folder / "spool"
        self.policy = folder / "etc" / "policy.yaml"
        self.policy.parent.mkdir()
        self.key = folder / "anna.pem"
        self.environment = os.environ | {VARIABLE: str(self.policy)}
        self.broker: dict[str, Any] = {"url": broker.url}
        (folder / "machines").mkdir()
        self.template = folder / "machines" / "counter.yaml"
        self.template.write_text(
            "format: 1\nprotocol: modbus\ndefaults: {every: 100ms}\npoints:\n"
            "  count: {address: holding 0, raw: uint32}\n  third: {address: holding 4, raw: float64, unit: Cel}\n"
        )
        self._machine = {"template": "counter", "connection": f"modbus+tcp://127.0.0.1:{machines.port}?unit=1"}
        self.write()

    def write(self, gateway: str = "edge-01") -> None:
        write_factory(
            self.config,
            gateway={"id": gateway, "spool": {"folder": str(self.spool)}},
            broker=self.broker,
            lines={"line": {"area": "area", "machines": {"m-01": self._machine}}},
        )

    def require_signature(self) -> None:
        """Write a policy with the key of a signer."""
        private = Ed25519PrivateKey.generate()
        self.key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.key.chmod(0o600)
        self.policy.write_text(f"format: 1\nsigners: {{anna: {public_text(private.public_key())}}}\n")

    async def refusal(self) -> dict[str, Any]:
        """Return the entry of the audit log of the configuration that was refused, after verifying the log."""
        shown = await self.do("audit", "show", str(self.config), "--format", "json", "--action", "configuration-*")
        [entry] = map(json.loads, shown.text.splitlines())
        assert (await self.do("audit", "verify", str(self.config))).code == 0
        found: dict[str, Any] = entry
        return found

    async def do(self, *arguments: str) -> Ran:
        return await lineside(*arguments, environment=self.environment)

    async def sign(self) -> None:
        ran = await self.do("sign", str(self.config), "--key", str(self.key))
        assert (ran.code, ran.error) == (0, "")

    async def start(self) -> Lineside:
        gateway = await Lineside.start("run", self.config, environment={VARIABLE: str(self.policy)})
        await gateway.logged("machine.online", seconds=SECONDS)
        await until((self.spool / "edge-01.sock").exists, "the socket", SECONDS)
        return gateway


@with_policy
async def test_a_changed_file_is_neither_started_nor_reloaded_until_it_is_signed(tmp_path: Path) -> None:
    """A template counts like the main file; the refusal is in the answer, the log and the audit log."""
    mosquitto = await Mosquitto.start(tmp_path)
    async with Machines(1) as machines:
        box = Box(tmp_path, machines, mosquitto)
        box.require_signature()
        for command in ("run", "ingest"):
            ran = await box.do(command, str(box.config))
            assert ran.code == 1
            assert f"{box.config}:1:1: is not signed, which {box.policy} requires" in ran.error
        await box.sign()
        gateway = await box.start()
        box.template.write_text(box.template.read_text().replace("100ms", "200ms"))
        ran = await box.do("reload", str(box.config))
        assert ran.code == 1
        assert f"{box.template}:1:1: was changed after anna had signed it" in ran.error
        refused = await gateway.logged("configuration.untrusted")
        assert "was changed after anna" in refused["problems"][0]
        entry = await box.refusal()
        assert (entry["action"], entry["who"]) == ("configuration-refused", "root")
        assert (entry["outcome"], entry["object"]) == ("denied", str(box.config))
        await box.sign()
        ran = await box.do("reload", str(box.config))
        assert (ran.code, ran.error) == (0, "")
        assert "0 machines added, 1 machines changed" in ran.text
        assert await gateway.stop() == 0


@with_policy
@pytest.mark.parametrize("workers", [1, 2])
async def test_an_earlier_version_is_neither_started_nor_reloaded_until_it_is_signed_again(
    tmp_path: Path, workers: int
) -> None:
    """The attack: old files with their right signature. The clock of the box, and a damaged memory, stop nothing."""
    mosquitto = await Mosquitto.start(tmp_path)
    async with Machines(1) as machines:
        box = Box(tmp_path, machines, mosquitto)
        box.require_signature()
        box.config.write_text(box.config.read_text().replace("id: edge-01", f"id: edge-01\n  workers: {workers}"))
        await box.sign()
        files = (box.config, box.template, signature_file(box.config))
        old = {file: file.read_bytes() for file in files}
        gateway = await box.start()
        box.template.write_text(box.template.read_text().replace("100ms", "200ms"))
        await box.sign()
        ran = await box.do("reload", str(box.config))
        assert (ran.code, ran.error) == (0, "")
        for file, content in old.items():
            file.write_bytes(content)
        ran = await box.do("reload", str(box.config))
        assert ran.code == 1
        assert "and this machine has accepted a newer version, signed at " in ran.error
        refused = await gateway.logged("configuration.untrusted")
        assert "sign it again: lineside sign" in refused["problems"][0]
        assert await gateway.stop() == 0
        for command in ("run", "dashboard"):
            ran = await box.do(command, str(box.config))
            assert ran.code == 1
            assert "and this machine has accepted a newer version, signed at " in ran.error
        await box.sign()
        gateway = await box.start()
        memory = memory_file(box.spool, box.config)
        memory.write_bytes(b"\0" * 100)
        assert (await box.do("reload", str(box.config))).code == 0
        await gateway.logged("signature.memory_damaged")
        assert json.loads(memory.read_bytes())["file"] == str(box.config)
        assert await gateway.stop() == 0


@with_policy
async def test_the_signed_configuration_of_another_gateway_is_neither_started_nor_reloaded(tmp_path: Path) -> None:
    """The attack: the files of another machine under the same name, with their right and newer signature."""
    mosquitto = await Mosquitto.start(tmp_path)
    async with Machines(1) as machines:
        box = Box(tmp_path, machines, mosquitto)
        box.require_signature()
        signers = box.policy.read_text()
        box.policy.write_text(f"{signers}gateways: edge-01\n")
        await box.sign()
        gateway = await box.start()
        box.policy.write_text(signers)  # as on the computer of the signer
        box.write("edge-02")
        await box.sign()
        box.policy.write_text(f"{signers}gateways: edge-01\n")
        said = "edge-02 is not a gateway of this machine; gateways allows edge-01"
        gateway.signal(signal.SIGHUP)
        refused = await gateway.logged("configuration.untrusted", seconds=SECONDS)
        assert said in refused["problems"][0]
        for command in ("validate", "run", "ingest", "dashboard"):
            ran = await box.do(command, str(box.config))
            assert (ran.code, said in ran.text + ran.error) == (1, True), (command, ran)
        box.write()
        await box.sign()
        entry = await box.refusal()
        assert (entry["action"], entry["who"], entry["outcome"]) == ("configuration-refused", "signal", "denied")
        assert said in entry["after"][0]
        assert await gateway.stop() == 0


@with_policy
@pytest.mark.parametrize("workers", [1, 2])
async def test_another_server_gets_nothing_of_a_gateway_with_a_policy(tmp_path: Path, workers: int) -> None:
    """The attack: the broker's URL and a file are changed, and the gateway is started or reloads."""
    mosquitto = await Mosquitto.start(tmp_path)
    (tmp_path / "other_token").write_text("TOKEN-OF-THE-STORE")
    async with Machines(1) as machines:
        box = Box(tmp_path, machines, mosquitto)
        box.policy.write_text(
            f"format: 1\nhosts: {{broker: '{mosquitto.url}', devices: 127.0.0.1}}\n"
            "secrets: {}\nsecret_folders: []\n"
        )
        text = box.config.read_text().replace("id: edge-01", f"id: edge-01\n  workers: {workers}")
        box.config.write_text(text)
        gateway = await box.start()
        with socket.create_server(("127.0.0.1", 0)) as other:
            url = f"mqtt://127.0.0.1:{other.getsockname()[1]}"
            stolen = f"username: x\n  password: {{file: {tmp_path}/other_token}}"
            box.config.write_text(text.replace(f"url: {mosquitto.url}", f"url: {url}\n  {stolen}"))
            assert url in box.config.read_text()
            gateway.signal(signal.SIGHUP)
            refused = await gateway.logged("configuration.untrusted", seconds=SECONDS)
            said = "\n".join(refused["problems"])
            assert f"{url} is not one of the hosts for broker" in said
            assert "is not in a folder for secrets" in said
            ran = await box.do("reload", str(box.config))
            assert ran.code == 1
            ran = await box.do("run", str(box.config), "--set", f"gateway.spool.folder={tmp_path / 'second'}")
            assert ran.code == 1
            assert f"{url} is not one of the hosts for broker" in ran.error
            other.settimeout(0.0)
            with pytest.raises(BlockingIOError):
                other.accept()
        assert await gateway.stop() == 0


async def test_a_reload_without_a_policy_sends_the_password_to_no_other_broker(tmp_path: Path) -> None:
    """The gateway goes on with the broker that it had; the count of untrusted files is in its answer and its log."""
    mosquitto = await Mosquitto.start(tmp_path)
    (tmp_path / "pw").write_text("p")
    async with Machines(1) as machines:
        box = Box(tmp_path, machines, mosquitto)
        del box.environment[VARIABLE]
        box.broker |= {"username": "edge", "password": {"file": str(tmp_path / "pw")}}
        box.write()
        gateway = await Lineside.start("run", box.config)
        await gateway.logged("machine.online", seconds=SECONDS)
        box.broker["url"] = "mqtt://127.0.0.1:1"
        box.write()
        ran = await box.do("reload", str(box.config))
        assert ran.code == 1
        assert "was not sent to mqtt://127.0.0.1:1 before; if that is right, restart the gateway" in ran.error
        assert await gateway.stop() == 0


async def test_reload_reaches_the_gateway_and_no_process_with_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process id in a file may be of another process by now: it gets no signal, whatever the file says."""
    mosquitto = await Mosquitto.start(tmp_path)
    async with Machines(1) as machines:
        box = Box(tmp_path, machines, mosquitto)
        del box.environment[VARIABLE]
        gateway = await Lineside.start("run", box.config)
        await gateway.logged("machine.online", seconds=SECONDS)
        listening, outcome = box.spool / "edge-01.sock", box.spool / "edge-01.configuration.json"
        await until(listening.exists, "the socket", SECONDS)
        assert stat.S_IMODE(listening.stat().st_mode) == 0o600
        content = json.loads(outcome.read_bytes())
        outcome.write_text(json.dumps(content | {"pid": os.getpid()}))  # SIGHUP would end this process
        ran = await box.do("reload", str(box.config))
        assert (ran.code, ran.error) == (0, "")
        assert "nothing has changed" in ran.text
        shutil.copytree(box.folder / "machines", tmp_path / "copy" / "machines")
        copy = tmp_path / "copy" / "factory.yaml"
        copy.write_text(box.config.read_text())
        ran = await box.do("reload", str(copy))
        assert ran.code == 1
        assert f"gateway edge-01 runs {box.config}, and not {copy}" in ran.error
        listening.unlink()  # as of a version that has none
        ran = await box.do("reload", str(box.config), "--wait", "1s")
        assert ran.code == 3
        assert (
            f"gateway edge-01 does not listen at {listening}; it is starting, or of an earlier version" in ran.error
        )
        gateway.kill()
        with socket.socket(socket.AF_UNIX) as stale:
            monkeypatch.chdir(box.spool)  # a path of a socket has 107 bytes at the most
            stale.bind(listening.name)
        ran = await box.do("reload", str(box.config))
        assert ran.code == 3
        assert "no gateway edge-01 works in" in ran.error
        gateway = await Lineside.start("run", box.config)
        await gateway.logged("machine.online", seconds=SECONDS)
        ran = await box.do("reload", str(box.config))
        assert (ran.code, ran.error) == (0, "")
        assert await gateway.stop() == 0
        assert not listening.exists()


async def test_the_files_of_a_service_are_for_its_user_alone(tmp_path: Path) -> None:
    """Whatever umask it is started with."""
    mosquitto = await Mosquitto.start(tmp_path)
    async with Machines(1) as machines:
        box = Box(tmp_path, machines, mosquitto)
        before = os.umask(0o022)
        try:
            gateway = await Lineside.start("run", box.config)
        finally:
            os.umask(before)
        await gateway.logged("machine.online", seconds=SECONDS)
        assert await gateway.stop() == 0
        modes = {file.name: oct(stat.S_IMODE(file.stat().st_mode)) for file in box.spool.iterdir()}
        assert set(modes.values()) == {"0o600"}, modes
