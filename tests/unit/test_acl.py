"""`lineside acl`: rights follow from the table of topics, in the grammar of each broker."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from command_line import lineside
from paho.mqtt.client import topic_matches_sub
from processes import write_factory

from gateway.acl import BROKERS
from gateway.acl.accounts import Action, accounts_of
from gateway.mqtt.topics import GATEWAYS, INGESTS, USES, Topics
from gateway.settings.load import load_factory

DOCUMENT = (Path(__file__).parents[2] / "docs" / "topics.md").read_text("utf-8")
TEMPLATE = "format: 1\nprotocol: modbus\ndefaults: {every: 1s}\npoints:\n  count: {address: input 0}\n"


def factory(folder: Path, name: str = "edge-01", machines: tuple[str, ...] = ("m-01",), **sections: Any) -> Path:
    (folder / "machines").mkdir(exist_ok=True)
    (folder / "machines" / "counter.yaml").write_text(TEMPLATE)
    found = {one: {"template": "counter", "connection": "modbus+tcp://127.0.0.1:502?unit=1"} for one in machines}
    usual = {
        "gateway": {"id": name},
        "broker": {"url": "mqtt://broker.example:1883", "username": name, "password": {"secret": "broker_password"}},
        "stores": [{"sqlite": {"path": "readings.db"}}],
        "lines": {"line": {"area": "area", "machines": found}},
    }
    return write_factory(folder / f"{name}.yaml", **usual | sections)


def written(*arguments: str) -> Any:
    result = lineside("acl", *arguments, "--format", "json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(*arguments: str) -> str:
    result = lineside("acl", *arguments)
    assert result.exit_code == 1
    return result.stderr


def leaf_of(row: str) -> str:
    """Return the end of a topic in the document, as the table has it."""
    return row.rsplit("/", 2 if row.endswith(">") else 1)[1:][0] + ("/+" if row.endswith(">") else "")


def test_the_table_has_the_topics_of_the_document() -> None:
    """A topic that is documented and not in the table would be denied to all."""
    rows = re.findall(r"^\| `(?:<root>|…)([^`]*)` \|", DOCUMENT, re.MULTILINE)
    kinds = {GATEWAYS: GATEWAYS, INGESTS: INGESTS}
    found = {(next((kind for kind in kinds if kind in row), ""), leaf_of(row)) for row in rows}
    assert {(use.kind, use.leaf) for use in USES} == found


def test_lines_of_several_gateways_are_divided_by_machine(tmp_path: Path) -> None:
    """A gateway may publish for its own machines of a line; a line of its own is its as a whole, for the cleanup."""
    other = {"other": {"area": "area", "machines": {"m-09": {"template": "counter", "connection": "modbus+tcp://h"}}}}
    first = load_factory(factory(tmp_path), ())
    second = load_factory(factory(tmp_path, "edge-02", ("m-02",)), ())
    third = load_factory(factory(tmp_path, "edge-03", lines=other), ())
    accounts = {one.user: one for one in accounts_of([first, second, third])}
    topics = Topics("lineside/v1")
    [mine, his] = (topics.data(one.machines[0].path) for one in (first, second))
    assert accounts["edge-01"].may(Action.PUBLISH, mine)
    assert not accounts["edge-01"].may(Action.PUBLISH, his)
    assert not accounts["edge-02"].may(Action.PUBLISH, mine)
    assert accounts["edge-03"].may(Action.PUBLISH, topics.data(third.machines[0].path._replace(machine="removed")))
    assert not accounts["page"].may(Action.PUBLISH, mine)


def test_an_ingest_that_does_not_confirm_has_no_right_to(tmp_path: Path) -> None:
    """One that fills a second store must not free the spools."""
    found = load_factory(factory(tmp_path, ingest={"confirms": False}), ())
    [ingest] = [one for one in accounts_of([found]) if one.user == "ingest"]
    topic = Topics("lineside/v1").gateway("enterprise", "site", "edge-01", "{}")
    assert not ingest.may(Action.PUBLISH, topic.format("confirmed"))
    assert ingest.may(Action.PUBLISH, topic.format("wanted"))


@pytest.mark.parametrize("broker", BROKERS)
def test_no_password_is_written(broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files go through many hands; there are commands instead, one for each user."""
    monkeypatch.setenv("LINESIDE_SECRET_BROKER_PASSWORD", "open sesame")
    found = written(str(factory(tmp_path)), "--for", broker)
    assert "open sesame" not in json.dumps(found)
    assert len(found["commands"]) == len(found["accounts"]) == 4
    for user, command in zip(found["accounts"], found["commands"], strict=True):
        assert user["user"] in command or user["user"].upper().replace("-", "_") in command


def test_the_rules_of_emqx_have_its_grammar(tmp_path: Path) -> None:
    """The forms of its document "Use ACL File"; EMQX itself can't be run by the tests."""
    found = written(str(factory(tmp_path)), "--for", "emqx")
    text = found["files"]["acl.conf"]
    terms = re.sub(r"^%%.*\n", "", text, flags=re.MULTILINE).strip()
    topic = r'"[^"]+"'
    action = r"(?:subscribe|publish|\{publish, \[\{retain, (?:true|false)\}\]\})"
    rule = rf'\{{allow, \{{username, "([^"]+)"\}}, {action}, \[\s*{topic}(?:,\s*{topic})*\s*\]\}}\.'
    assert re.fullmatch(rf"(?:{rule}\s*)+\{{deny, all\}}\.", terms)
    assert set(re.findall(rule, terms)) == {"edge-01", "ingest", "page", "reader"}
    assert "no_match = deny" in found["files"]["lineside.hocon"]
    assert "clientid_override = \"concat([username, '/', clientid])\"" in found["files"]["lineside.hocon"]


def test_the_rules_of_hivemq_have_its_grammar(tmp_path: Path) -> None:
    """The elements and values of its File RBAC Extension, which denies all that no permission allows."""
    found = written(str(factory(tmp_path, ingest={"share": "plant"})), "--for", "hivemq")
    root = ET.fromstring(found["files"]["credentials.xml"])  # noqa: S314 - it is our own
    assert [child.tag for child in root] == ["users", "roles"]
    roles = {role.findtext("id"): role for role in root.iter("role")}
    assert [user.findtext("roles/id") for user in root.iter("user")] == list(roles) == [
        "edge-01", "ingest", "page", "reader",
    ]  # fmt: skip
    values = {
        "activity": {"PUBLISH", "SUBSCRIBE"},
        "retain": {"RETAINED", "NOT_RETAINED", "ALL"},
        "shared-subscription": {"SHARED", "NOT_SHARED"},
        "shared-group": {"plant"},
    }
    for user in root.iter("user"):
        assert len((user.findtext("password") or "").split(":")) == 3
    for permission in root.iter("permission"):
        assert permission[0].tag == "topic"
        for element in permission[1:]:
            assert element.text in values[element.tag]
    groups = [one for one in roles["ingest"].iter("permission") if one.findtext("shared-group")]
    assert {(one.findtext("topic") or "").rsplit("/", 1)[-1] for one in groups} == {"data", "event"}


def test_mosquitto_with_certificates_has_no_passwords(tmp_path: Path) -> None:
    """The name in the certificate is the user, as in the compose file."""
    (tmp_path / "edge.pem").touch()
    broker = {"url": "mqtts://broker.example", "certificate": "edge.pem", "key": "edge.pem"}
    found = written(str(factory(tmp_path, broker=broker)), "--for", "mosquitto")
    text = found["files"]["lineside.conf"]
    assert found["commands"] == []
    assert "use_identity_as_username true" in text
    assert "password_file" not in text
    assert "listener 8883\n" in text


def test_what_a_broker_or_its_files_can_not_hold_is_refused(tmp_path: Path) -> None:
    """With what to change."""
    shared = factory(tmp_path, ingest={"share": "plant"})
    assert "remove ingest.share" in refused(str(shared), "--for", "nats")
    dotted = factory(tmp_path, "edge.01")
    assert "write '-' in place of the dot" in refused(str(dotted), "--for", "nats")
    plain = str(factory(tmp_path))
    assert "have the user edge-01" in refused(plain, plain, "--for", "emqx")
    assert "have the user page" in refused(plain, "--for", "emqx", "--reader-user", "page")
    for user in ('x"}', "a\nuser b", "a b"):
        hostile = factory(tmp_path, "edge-02", broker={"url": "mqtt://h", "username": user})
        assert "can't be written for a broker" in refused(str(hostile), "--for", "mosquitto")
    prefixed = factory(tmp_path, "edge-03", broker={"url": "mqtt://h", "username": "lineside-edge-03"})
    assert "begins with lineside-" in refused(str(prefixed), "--for", "mosquitto")


def test_files_are_written_to_a_folder(tmp_path: Path) -> None:
    """Standard output then has their names."""
    result = lineside("acl", str(factory(tmp_path)), "--for", "mosquitto", "--out", str(tmp_path / "rights"))
    assert result.exit_code == 0
    files = sorted((tmp_path / "rights").iterdir())
    assert sorted(result.stdout.split()) == [str(file) for file in files]
    assert {file.name for file in files} == {"lineside.acl", "lineside.conf"}


def test_every_reader_of_a_topic_may_subscribe_to_the_filter_that_it_uses(tmp_path: Path) -> None:
    """Some brokers compare the filter of a subscription with the right, and not the topics of messages."""
    found = load_factory(factory(tmp_path), ())
    accounts = {one.user: one for one in accounts_of([found])}
    topics = Topics("lineside/v1")
    for use in USES:
        filters = {right.topic for right in accounts["reader"].rights}
        assert (topics.all_of(use) in filters) == bool({"reader"} & {str(one) for one in use.subscribes})
    assert any(topic_matches_sub(right.topic, "lineside/v1/a/b/c/d/e/data") for right in accounts["ingest"].rights)


def test_the_document_has_the_keys_of_the_page(tmp_path: Path) -> None:
    """Scripts set up brokers with it."""
    page = (Path(__file__).parents[2] / "docs" / "commands.md").read_text("utf-8")

    def keys(row: str) -> set[str]:
        [cells] = re.findall(rf"^\| `{row}` \| (.*) \|$", page, re.MULTILINE)
        return set(re.findall(r"`([a-z]+)`", re.sub(r"\([^)]*\)", "", cells)))

    found = written(str(factory(tmp_path)), "--for", "mosquitto")
    assert found.keys() == keys("lineside acl")
    assert found["accounts"][0].keys() == keys("accounts")
    assert found["accounts"][0]["rights"][0].keys() == keys("rights")
