"""Relative paths follow the file that they are written in, in every key, from any working folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from click.testing import CliRunner

from gateway.cli import main
from gateway.settings.load import load_factory
from gateway.settings.overrides import parse_override
from gateway.settings.serialize import dump_factory, unrolled

if TYPE_CHECKING:
    from gateway.settings.factory import Factory, Machine

MODBUS = "format: 1\nprotocol: modbus\npoints:\n  level: {address: holding 1}\n"
OPCUA = "format: 1\nprotocol: opcua\npoints:\n  level: {node: s=A, type: float}\n"

FACTORY = """
format: 1
factory: {enterprise: acme, site: north}
gateway: {id: edge-01, spool: {folder: data/spool}}
broker:
  url: mqtts://broker
  ca: certs/ca.pem
  certificate: certs/edge.pem
  key: ../keys/edge.key
  username: edge-01
  password: {file: secrets/broker}
ingest: {folder: data/ingest}
stores:
  - sqlite: {path: data/readings.db}
  - influxdb: {url: "http://tsdb:8086", bucket: b, token: {file: secrets/token}}
templates: types
include: [lines/*.yaml]
lines:
  l1:
    area: a
    machines:
      tank-1: {template: tank, connection: "modbus+tls://10.0.0.1?ca=certs/ca.pem"}
"""

LINES = """
format: 1
lines:
  l2:
    area: a
    machines:
      tank-2: {template: tank, connection: {url: "modbus+tls://10.0.0.2", ca: own/ca.pem}}
      drum-1:
        template: drum
        connection:
          url: "opc.tcp://10.0.0.3"
          pki: own/pki
          username: u
          password: {file: own/password}
      drum-2:
        template: drum
        connection: {url: "opc.tcp://10.0.0.4", user_certificate: own/user.pem, user_key: own/user.key, pki: own/pki}
"""


def write(folder: Path) -> Path:
    for name, text in {
        "factory.yaml": FACTORY, "lines/l2.yaml": LINES, "types/tank.yaml": MODBUS, "types/drum.yaml": OPCUA
    }.items():  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder / "factory.yaml"


def paths(factory: Factory) -> dict[str, str]:
    """Return every path of a factory by its key."""
    sqlite, influxdb = (entry.settings for entry in factory.stores)
    tank, other, drum, second = (machine.connection for machine in factory.machines)
    broker = factory.broker
    found = {
        "spool": factory.gateway.spool.folder, "ca": broker.ca, "certificate": broker.certificate, "key": broker.key,
        "password": getattr(broker.password, "file", None), "ingest": factory.ingest.folder,
        "sqlite": getattr(sqlite, "path", None), "token": getattr(getattr(influxdb, "token", None), "file", None),
        "modbus of a URL": getattr(tank, "ca", None), "modbus of a mapping": getattr(other, "ca", None),
        "pki": getattr(drum, "pki", None), "user": getattr(getattr(drum, "password", None), "file", None),
        "user_certificate": getattr(second, "user_certificate", None),
    }  # fmt: skip
    return {key: str(path) for key, path in found.items()}


EXPECTED = {
    "spool": "data/spool", "ca": "certs/ca.pem", "certificate": "certs/edge.pem", "key": "../keys/edge.key",
    "password": "secrets/broker", "ingest": "data/ingest", "sqlite": "data/readings.db", "token": "secrets/token",
    "modbus of a URL": "certs/ca.pem", "modbus of a mapping": "lines/own/ca.pem", "pki": "lines/own/pki",
    "user": "lines/own/password", "user_certificate": "lines/own/user.pem",
}  # fmt: skip


@pytest.mark.parametrize("here", ["etc", "."], ids=["in the folder of the file", "in another folder"])
def test_every_path_follows_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: str) -> None:
    """A service, a person and a job of cron start in different folders and mean the same files."""
    file = write(tmp_path / "etc")
    monkeypatch.chdir(tmp_path / here)
    assert paths(load_factory(file)) == {key: f"{tmp_path}/etc/{path}" for key, path in EXPECTED.items()}


def test_a_relative_name_of_the_file_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`lineside run factory.yaml` in its folder works as it always did."""
    write(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert paths(load_factory(Path("factory.yaml"))) == EXPECTED


def test_defaults_are_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`lineside ledger` finds the spool of a gateway that was started elsewhere."""
    for name in ("LINESIDE_PKI", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    file = write(tmp_path)
    text = FACTORY.replace(", spool: {folder: data/spool}", "").replace("ingest: {folder: data/ingest}\n", "")
    file.write_text(text, encoding="utf-8")
    lines = tmp_path / "lines" / "l2.yaml"
    lines.write_text(LINES.replace("          pki: own/pki\n", ""), encoding="utf-8")
    found = paths(load_factory(file))
    assert found["spool"] == found["ingest"] == f"{tmp_path}/lineside-data"
    assert found["pki"] == f"{tmp_path}/lineside-data/pki"


def test_whole_paths_and_the_home_folder_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole path is the same from any folder."""
    monkeypatch.setenv("HOME", "/home/me")
    file = write(tmp_path)
    text = FACTORY.replace("data/spool", "/var/lib/x").replace("certs/edge.pem", "~/edge.pem")
    file.write_text(text.replace("secrets/broker", "~/broker"), encoding="utf-8")
    found = paths(load_factory(file))
    assert (found["spool"], found["certificate"]) == ("/var/lib/x", "/home/me/edge.pem")
    assert found["password"] == "/home/me/broker"


def test_a_path_of_the_command_line_follows_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So does every other path of a command line."""
    file = write(tmp_path / "etc")
    monkeypatch.chdir(tmp_path)
    factory = load_factory(file, [parse_override("gateway.spool.folder=here"), parse_override("templates=etc/types")])
    assert str(factory.gateway.spool.folder) == "here"
    assert factory.templates == Path("etc/types")


def test_a_configuration_that_is_written_elsewhere_means_the_same(tmp_path: Path) -> None:
    """`check --simulated --machine` and `simulate --write` write one into another folder."""
    file = write(tmp_path / "etc")
    factory = load_factory(file)
    other = tmp_path / "other" / "factory.yaml"
    other.parent.mkdir()
    other.write_text(dump_factory(unrolled(factory)), encoding="utf-8")
    again = load_factory(other)
    assert paths(again) == paths(factory)

    def meaning(machine: Machine) -> object:
        return machine.path, machine.connection, machine.points

    assert list(map(meaning, again.machines)) == list(map(meaning, factory.machines))


def test_show_prints_whole_paths_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person sees which files are meant."""
    file = write(tmp_path / "etc")
    monkeypatch.chdir(tmp_path)
    ran = CliRunner().invoke(main, ["show", str(file), "--format", "yaml"])
    shown = yaml.safe_load(ran.stdout)
    assert shown["broker"]["ca"] == f"{tmp_path}/etc/certs/ca.pem"
    connections = [machine["connection"] for machine in shown["machines"]]
    assert connections[0] == f"modbus+tls://10.0.0.1?ca={tmp_path}/etc/certs/ca.pem"
    assert connections[1]["ca"] == f"{tmp_path}/etc/lines/own/ca.pem"
