"""compose.yaml: valid, pinned, limited, and about files, volumes and secrets that exist."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from compose_file import Service, read_compose
from paho.mqtt.client import topic_matches_sub

from gateway.acl.accounts import Action, gateway_account, ingest_account
from gateway.cli import COMMANDS
from gateway.settings.load import load_factory

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.acl.accounts import Account
    from gateway.settings.factory import Factory

ROOT = Path(__file__).parents[2]
COMPOSE = read_compose(ROOT / "compose.yaml")
SERVICES = sorted(COMPOSE.services.items())

WRITES_ITS_ROOT = {"influxdb"}
"""Services whose image has to write outside of its volumes: its entry point gives files to its own user."""

LATER = {"./deploy/prometheus", "./deploy/grafana"}
"""Folders of rules and dashboards: a container starts without them too."""


@pytest.mark.parametrize(("name", "service"), SERVICES)
def test_every_service_is_pinned_limited_and_unprivileged(name: str, service: Service):
    """A container in a plant runs for years: its log, memory and processes are bounded, and its version is known."""
    tag = service.image.partition(":")[2]
    assert service.build is not None or re.search(r"\d+\.\d+\.\d+", tag), "pin the version"
    assert set(service.logging.options) >= {"max-size", "max-file"}
    assert service.cap_drop == ["ALL"]
    assert service.read_only is (name not in WRITES_ITS_ROOT)
    assert service.restart == "unless-stopped" or not service.healthcheck.test


@pytest.mark.parametrize(("name", "service"), SERVICES)
def test_every_service_has_a_health_check_or_ends(name: str, service: Service):
    ends = [one for one in COMPOSE.services.values() for other, need in one.depends_on.items()
            if other == name and need.condition == "service_completed_successfully"]  # fmt: skip
    if ends:
        assert service.healthcheck.disable
        return
    assert service.healthcheck.test is not None
    assert service.healthcheck.test[0] == "CMD"
    assert service.healthcheck.interval
    assert service.healthcheck.timeout


@pytest.mark.parametrize(("name", "service"), SERVICES)
def test_everything_that_a_service_uses_exists(name: str, service: Service):
    assert name
    assert set(service.networks) <= set(COMPOSE.networks)
    assert {secret.source for secret in service.secrets} <= set(COMPOSE.secrets)
    assert set(service.depends_on) <= set(COMPOSE.services)
    for volume in service.volumes:
        if volume.is_path:
            assert (ROOT / volume.source).exists() or volume.source in LATER
            assert volume.read_only
        else:
            assert volume.source in COMPOSE.volumes
    for other, need in service.depends_on.items():
        if need.condition == "service_healthy":
            assert COMPOSE.services[other].healthcheck.test


@pytest.mark.parametrize(("name", "service"), SERVICES)
def test_no_secret_is_in_the_environment(name: str, service: Service):
    """`docker inspect` shows it to everybody who may use Docker, and child processes inherit it."""
    assert name
    for variable, text in service.environment.items():
        if re.search(r"PASSWORD|TOKEN|SECRET|KEY", variable):
            assert variable.endswith("_FILE")
            assert text.startswith("/run/secrets/")


def test_every_secret_and_every_volume_is_used():
    services = COMPOSE.services.values()
    assert {secret.source for one in services for secret in one.secrets} == set(COMPOSE.secrets)
    used = {volume.source for one in services for volume in one.volumes if not volume.is_path}
    assert used == set(COMPOSE.volumes)
    assert {network for one in services for network in one.networks} == set(COMPOSE.networks)


def test_each_client_has_its_own_certificate_and_no_other():
    """A gateway must not confirm records, and ingest must not publish readings."""
    for name in ("gateway", "ingest"):
        mounted = {secret.target: secret.source for secret in COMPOSE.services[name].secrets}
        assert mounted == {
            "ca": "ca",
            "broker_certificate": f"{name}_certificate",
            "broker_key": f"{name}_key",
        }


def test_compose_starts_commands_that_exist():
    """Services of compose.yaml are commands of lineside, on files that are mounted."""
    ours = {name: service for name, service in SERVICES if service.build is not None}
    assert set(ours) == {"simulators", "gateway", "ingest"}
    for service in ours.values():
        assert service.command is not None
        words = [word for word in service.command if word not in {"--log", "json"}]
        assert words[0] in COMMANDS
        assert words[1] == "/etc/lineside/factory.yaml"
        assert "./deploy/compose/lineside" in {volume.source for volume in service.volumes}
        target = (ROOT / "Dockerfile").read_text(encoding="utf-8")
        assert service.build is not None
        assert f" AS {service.build.target}\n" in target


def test_every_user_of_the_broker_has_rights_and_a_certificate():
    acl = (ROOT / "deploy/compose/mosquitto/acl").read_text(encoding="utf-8")
    users = set(re.findall(r"^user (\S+)$", acl, re.MULTILINE))
    factory = yaml.safe_load((ROOT / "deploy/compose/lineside/factory.yaml").read_text(encoding="utf-8"))
    prepare = (ROOT / "deploy/compose/prepare").read_text(encoding="utf-8")
    (clients,) = re.findall(r"^for client in (.*); do$", prepare, re.MULTILINE)
    assert users == set(clients.split()) == {factory["gateway"]["id"], "ingest", "viewer", "health"}
    # each line of the factory is in the list of rights
    own = factory["factory"]
    for line, content in factory["lines"].items():
        assert f"topic write lineside/v1/{own['enterprise']}/{own['site']}/{content['area']}/{line}/+/data" in acl


@pytest.mark.parametrize("account", [gateway_account, ingest_account])
def test_the_example_grants_each_right_that_a_service_needs(
    account: Callable[[Factory], Account], monkeypatch: pytest.MonkeyPatch
):
    """Those of `lineside acl`: a service that gets a topic gets its right here, too."""
    monkeypatch.chdir(ROOT)
    rights: dict[str, list[tuple[str, str]]] = defaultdict(list)
    user = ""
    for line in (ROOT / "deploy/compose/mosquitto/acl").read_text(encoding="utf-8").splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "user":
            user = rest
        elif kind == "topic":
            access, _, topic = rest.partition(" ")
            rights[user].append((access, topic))
    wanted = account(load_factory(ROOT / "deploy/compose/lineside/factory.yaml"))
    words = {Action.PUBLISH: {"write", "readwrite"}, Action.SUBSCRIBE: {"read", "readwrite"}}
    missing = [
        (right.action, right.topic)
        for right in wanted.rights
        if not any(
            access in words[right.action] and topic_matches_sub(topic, right.topic)
            for access, topic in rights[wanted.user]
        )
    ]
    assert wanted.rights
    assert missing == []
