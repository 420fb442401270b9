"""`lineside init`: a first factory that is right, whatever is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from rights import with_policy

from gateway.cli import main
from gateway.settings.load import load_factory
from gateway.settings.policy import VARIABLE

if TYPE_CHECKING:
    from pathlib import Path


def init(folder: Path, *arguments: str, answers: str | None = None) -> tuple[int, str]:
    ran = CliRunner().invoke(main, ["init", "--out", str(folder), *arguments], input=answers)
    return ran.exit_code, ran.output


def test_the_defaults_make_a_valid_factory(tmp_path: Path) -> None:
    """A script, or a person in a hurry, begins here."""
    code, output = init(tmp_path, "--yes")
    assert (code, f"{tmp_path / 'factory.yaml'}: valid: 1 machine, 1 point" in output) == (0, True), output
    factory = load_factory(tmp_path / "factory.yaml")
    assert str(factory.machines[0].path) == "acme/north/area-1/line-1/machine-01"
    assert factory.warnings == ()


@with_policy
def test_the_policy_of_a_machine_is_recommended_until_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A box that runs one gateway must not run the signed configuration of another."""
    policy = tmp_path / "policy.yaml"
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr("gateway.settings.policy.FILE", policy)
    code, output = init(tmp_path / "first", "--yes", "--gateway", "edge-7")
    assert (code, f"write gateways: [edge-7] into {policy} there, as root" in output) == (0, True), output
    policy.write_text("format: 1\ngateways: [edge-7]\n")
    code, output = init(tmp_path / "second", "--yes", "--gateway", "edge-7")
    assert (code, "policy.yaml" in output) == (0, False), output


def test_answers_are_written_and_wrong_answers_are_asked_again(tmp_path: Path) -> None:
    """A blank in a name does not make a person begin again."""
    answers = ["my company", "acme", "", "edge 1", "edge-7", "http://broker", "mqtts://broker.example", "edge-7",
               "curing", "", "press-01", "10.0.0.2", "opc.tcp://10.0.0.2:4840?security=none", "press"]  # fmt: skip
    code, output = init(tmp_path, answers="\n".join(answers) + "\n")
    assert code == 0, output
    assert output.count("is not a name; write letters") == 2
    assert "http:// is not a scheme of brokers; write mqtt://" in output
    assert "write one of modbus+tcp://" in output
    assert "put the broker's password into the file /run/secrets/broker_password" in output
    factory = load_factory(tmp_path / "factory.yaml")
    assert (factory.gateway.id, factory.broker.url, factory.broker.username) == (
        "edge-7",
        "mqtts://broker.example",
        "edge-7",
    )
    assert factory.broker.password is not None
    [machine] = factory.machines
    assert (str(machine.path), machine.template, machine.protocol.name) == (
        "acme/north/curing/line-1/press-01",
        "press",
        "opcua",
    )


def test_an_existing_template_is_used_and_not_written(tmp_path: Path) -> None:
    """Machine types that come with Lineside have all their points at once."""
    code, output = init(tmp_path, "--yes", "--template", "curing-press")
    assert (code, len(load_factory(tmp_path / "factory.yaml").machines[0].points) > 10) == (0, True), output
    assert not (tmp_path / "machines").exists()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--site", "no rth", "is not a name"),
        ("--broker", "h:1883", "the URL has no scheme; write mqtt://h:1883"),
        ("--connection", "modbus+tcp://", "no host"),
    ],
)
def test_options_are_checked_as_answers_are(tmp_path: Path, option: str, value: str, message: str) -> None:
    """A script gets an exit code, not a question."""
    code, output = init(tmp_path, "--yes", option, value)
    assert (code, message in output, option in output) == (2, True, True), output
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_over(tmp_path: Path) -> None:
    """It is a command for the start, and not for a change of a configuration."""
    assert init(tmp_path, "--yes")[0] == 0
    before = (tmp_path / "factory.yaml").read_bytes()
    code, output = init(tmp_path, "--yes", "--site", "south")
    assert (code, "is there already; --force writes over it" in output) == (1, True)
    assert (tmp_path / "factory.yaml").read_bytes() == before
    assert init(tmp_path, "--yes", "--site", "south", "--force")[0] == 0
    assert load_factory(tmp_path / "factory.yaml").factory.site == "south"
