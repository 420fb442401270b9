"""The section `gateway.notify`: mistakes are reported with their place, and its URLs appear nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner
from rights import with_policy

from drivers.secret import Secret
from gateway.cli import main
from gateway.settings.contents import secrets_of
from gateway.settings.destinations import Use, destinations
from gateway.settings.load import load_factory
from gateway.settings.policy import VARIABLE, Untrusted, read_policy
from gateway.settings.problems import ConfigurationError
from gateway.trial.configuration import tried

if TYPE_CHECKING:
    from pathlib import Path

TEMPLATE = {
    "format": 1, "protocol": "modbus",
    "points": {"heat": {"address": "holding 0", "unit": "Cel"}},
    "alarms": {"hot": {"point": "heat", "high": 10, "class": "safety"}},
}  # fmt: skip

TARGETS = {"shift": {"url": {"secret": "notify_shift"}}, "manager": {"url": {"secret": "notify_manager"}}}
BOTH = [{"targets": ["shift", "manager"]}]


def write(folder: Path, notify: dict[str, Any]) -> Path:
    (folder / "machines").mkdir(exist_ok=True)
    (folder / "machines" / "oven.yaml").write_text(yaml.safe_dump(TEMPLATE))
    url = "modbus+tcp://10.0.0.1:502?unit=1"
    content = {
        "format": 1, "factory": {"enterprise": "acme", "site": "north"},
        "gateway": {"id": "edge-01", "notify": notify},
        "broker": {"url": "mqtt://localhost"},
        "lines": {"l1": {"area": "hall", "machines": {"m-1": {"template": "oven", "connection": url}}}},
    }  # fmt: skip
    file = folder / "factory.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return file


def problems(file: Path) -> list[str]:
    """Return the problems and warnings as `path: message`, each with a line."""
    try:
        found = load_factory(file).warnings
    except ConfigurationError as error:
        found = tuple(error.problems)
    assert all(one.line > 1 for one in found)
    return [one.text for one in found]


@pytest.mark.parametrize(
    ("notify", "expected"),
    [
        ({"targets": TARGETS, "rules": [*BOTH, {"targets": "shiff"}]},
         "gateway.notify.rules.1.targets: unknown target 'shiff'; did you mean 'shift'?"),
        ({"targets": TARGETS, "rules": [*BOTH, {"priorities": ["urgent"], "targets": "shift"}]},
         "gateway.notify.rules.1.priorities: 'urgent' is not a priority; write critical, high, medium, low"),
        ({"targets": TARGETS, "rules": [*BOTH, {"after": "10", "targets": "shift"}]},
         "gateway.notify.rules.1.after: "),
        ({"targets": TARGETS, "rules": [*BOTH, {"after": "8d", "targets": "shift"}]},
         "gateway.notify.rules.1.after: "),
        ({"targets": TARGETS, "rules": [*BOTH, {"after": "1m"}]}, "gateway.notify.rules.1.targets: is missing"),
        ({"targets": TARGETS, "rules": [*BOTH, {"targets": "shift", "machine": "m-1"}]},
         "gateway.notify.rules.1.machine: unknown key 'machine'; did you mean 'machines'?"),
        ({"targets": TARGETS, "rules": [*BOTH, {"targets": "shift", "machines": "m-2"}]},
         "gateway.notify.rules.1.machines: no machine with alarms matches 'm-2'; write the end of a path, as in l1/"),
        ({"targets": TARGETS, "rules": [*BOTH, {"targets": "shift", "classes": "quality"}]},
         "gateway.notify.rules.1.classes: no alarm has a class 'quality'; the classes are device, safety"),
        ({"targets": TARGETS, "rules": [{"targets": "shift"}]},
         "gateway.notify.targets.manager: no rule names this target"),
        ({"targets": {"shift": {"url": "jsons://hook.example/TOKEN-1234"}}, "rules": [{"targets": "shift"}]},
         "gateway.notify.targets.shift.url: a secret is named, never written"),
        ({"targets": TARGETS, "rules": BOTH, "at_most": {"messages": 0}}, "gateway.notify.at_most.messages: "),
    ],
)  # fmt: skip
def test_a_mistake_has_one_message_with_its_place(tmp_path: Path, notify: dict[str, Any], expected: str) -> None:
    """It says what would be right, and never repeats a URL."""
    found = problems(write(tmp_path, notify))
    assert len(found) == 1, found
    assert found[0].startswith(expected)
    assert "TOKEN-1234" not in found[0]


def test_a_valid_section_has_no_problem(tmp_path: Path) -> None:
    """Patterns, lists and single texts."""
    rules = [*BOTH, {"priorities": "high", "machines": "l1/*", "classes": ["safety", "device"], "after": "0s",
                     "targets": "shift"}]  # fmt: skip
    assert problems(write(tmp_path, {"targets": TARGETS, "rules": rules})) == []


def test_a_missing_library_is_a_warning_of_validate_and_ends_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line with the command to type; ingest and the page need no such library for the same file."""
    monkeypatch.setitem(__import__("sys").modules, "apprise", None)
    file = write(tmp_path, {"targets": TARGETS, "rules": BOTH})
    result = CliRunner().invoke(main, ["validate", str(file)])
    assert result.exit_code == 0
    assert "gateway.notify: notification needs the extra notify; install it with: " in " ".join(result.output.split())
    for command in (["run", str(file)], ["notify", str(file), "--test"]):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 1, result.output
        assert "notification needs the extra notify; install it with: " in " ".join(result.output.split())


def test_urls_are_secrets_of_their_own_use(tmp_path: Path) -> None:
    """They are found for back-ups and reports, and a file in a folder follows the configuration."""
    targets = TARGETS | {"shift": {"url": {"file": "hook.txt"}, "ca": "ca.pem"}}
    factory = load_factory(write(tmp_path, {"targets": targets, "rules": BOTH}))
    shift = factory.gateway.notify.targets["shift"]
    assert (shift.url.file, shift.ca) == (str(tmp_path / "hook.txt"), tmp_path / "ca.pem")
    assert Secret(secret="notify_manager") in secrets_of(factory)
    found = [(str(one.place.path[-1]), [secret.secret or secret.file for _, secret in one.secrets])
             for one in destinations(factory) if one.use is Use.NOTIFY]  # fmt: skip
    assert found == [("shift", [str(tmp_path / "hook.txt")]), ("manager", ["notify_manager"])]


@with_policy
def test_a_policy_says_which_secrets_and_hosts_are_for_notification(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who can change the configuration can't send a password of the broker as a URL."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(yaml.safe_dump({
        "format": 1, "hosts": {"broker": "*", "devices": "*", "notify": ["mailtos://mail.example", "10.0.0.0/8"]},
        "secrets": {"notify_shift": {"for": "notify", "hosts": ["mail.example"]}, "notify_manager": "broker"},
    }))  # fmt: skip
    monkeypatch.setenv(VARIABLE, str(policy))
    file = write(tmp_path, {"targets": TARGETS, "rules": BOTH})
    with pytest.raises(
        Untrusted, match=r"targets\.manager\.url: the secret notify_manager is for broker, and not for"
    ):
        load_factory(file)
    found = read_policy()
    assert found is not None
    assert found.hosts_of_secret("notify", Secret(secret="notify_shift")) == [
        ["mailtos://mail.example", "10.0.0.0/8"], ["mail.example"],
    ]  # fmt: skip


def test_a_trial_notifies_nobody(tmp_path: Path) -> None:
    """`lineside check --simulated` runs the gateway of a plant with simulated machines, which have alarms."""
    file = write(tmp_path, {"targets": TARGETS, "rules": BOTH})
    assert "notify" not in yaml.safe_load(tried(file, tmp_path, tmp_path / "s.db", 1883))["gateway"]


def test_notify_shows_its_rules(tmp_path: Path) -> None:
    """Without --test nothing is sent, and no secret is read."""
    rules = [{"priorities": ["critical"], "targets": ["shift"], "after": "10m"}, {"targets": "manager"}]
    file = write(tmp_path, {"targets": TARGETS, "rules": rules})
    result = CliRunner().invoke(main, ["notify", str(file)])
    assert (result.exit_code, result.output.splitlines()[:2]) == (
        0, ["shift", "  after 600 s: critical; machines *; classes *"],
    )  # fmt: skip
    assert CliRunner().invoke(main, ["notify", str(file), "--target", "shiff"]).exit_code == 2
