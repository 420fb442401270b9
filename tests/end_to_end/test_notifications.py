"""Notification of alarms to real mail and web servers: the content, the failures, and the secrets."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import re
from collections import Counter
from contextlib import AsyncExitStack
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Any, Self

import pytest
import yaml
from chaos.machines import Machines
from fakes.authority import Authority
from notify_targets import MailServer, Webhook
from processes import LOOPBACK, Lineside, free_port, lineside, until, write_factory
from rights import with_policy
from servers import Mosquitto
from structlog.testing import capture_logs

from gateway.model.alarm_notice import AlarmNotice, NotifyStep
from gateway.notify import courier, notifier
from gateway.notify.courier import Courier
from gateway.notify.delivery import Outcome
from gateway.notify.message import message_of
from gateway.notify.notifier import Notifier
from gateway.settings.alarm_set import Priority
from gateway.settings.notify_section import Limits, NotifySection, NotifyTarget
from gateway.settings.policy import VARIABLE
from gateway.spool.calculations import saved_states

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECONDS = 60.0

PASSWORD = "pass-word-1"
TOKEN = "T0KEN-of-the-hook"


def notice(number: int = 0, priority: Priority = Priority.CRITICAL, **texts: Any) -> AlarmNotice:
    texts = {"message": "Mould is at 181 Cel & rising", "consequence": "Scrap", "response": "Cool it"} | texts
    target = texts.pop("target", "shift")
    return AlarmNotice("acme/north/curing/curing-1/press-01", f"hot-{number}", 1_764_000_000_000_000 + number,
                       NotifyStep(0.0, target), priority, "process", **texts)  # fmt: skip


class Secrets:
    """The secrets of a test, as variables of the environment."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def target(self, url: str, name: str = "shift", **keys: Any) -> NotifyTarget:
        self._monkeypatch.setenv(f"LINESIDE_SECRET_NOTIFY_{name.upper()}", url)
        return NotifyTarget.model_validate({"url": {"secret": f"notify_{name}"}} | keys)


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> Secrets:
    return Secrets(monkeypatch)


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with Webhook() as server:
        yield server


HOSTILE = "x\r\nBcc: spy@evil.example\r\n\r\n<script>alert(1)</script> \x1b[31m\u202e @everyone"


async def test_a_mail_has_the_alarm_and_nothing_of_a_hostile_text(secrets: Secrets) -> None:
    """A device can't add a header, a recipient or markup."""
    with MailServer() as server:
        url = f"mailto://edge:{PASSWORD}@{LOOPBACK}:{server.port}?from=edge@plant.example&to=shift@plant.example"
        answer = await Courier().send(secrets.target(url), message_of([notice(message=HOSTILE)], 0, "edge-01"))
        assert answer.outcome is Outcome.DELIVERED
        [mail] = server.mails
        assert server.recipients == ["shift@plant.example"]
    assert mail["Subject"].startswith("Critical: press-01 hot-0: x Bcc: spy@ evil.example")
    assert (mail["Bcc"], mail["To"]) == (None, "shift@plant.example")
    body = mail.get_body(("plain",))
    assert body is not None
    text = body.get_content()
    for part in ("CRITICAL: acme/north/curing/curing-1/press-01", "Consequence: Scrap", "Response: Cool it"):
        assert part in text
    assert "<script" not in text
    assert "\x1b" not in text


async def test_a_webhook_gets_json(secrets: Secrets, hook: Webhook) -> None:
    """The message is whole, with its kind."""
    target = secrets.target(f"json://{LOOPBACK}:{hook.port}/{TOKEN}")
    assert (await Courier().send(target, message_of([notice()], 0, "edge-01"))).delivered
    [got] = hook.messages
    assert got["title"] == "Critical: press-01 hot-0: Mould is at 181 Cel & rising"
    assert "Text: Mould is at 181 Cel & rising\nConsequence: Scrap" in got["message"]
    assert (got["type"], got["path"]) == ("failure", f"/{TOKEN}")


@pytest.mark.parametrize(
    ("path", "outcome", "status"),
    [
        ("500", Outcome.REFUSED, 500),
        ("redirect?redirect=yes", Outcome.REFUSED, 307),
        ("endless", Outcome.TOO_LARGE, 0),
    ],
)
async def test_a_server_that_misbehaves_gets_nothing_more(
    secrets: Secrets, hook: Webhook, path: str, outcome: Outcome, status: int
) -> None:
    """A redirect is never followed, and an endless answer costs the gateway no memory."""
    target = secrets.target(f"json://{LOOPBACK}:{hook.port}/{path}")
    answer = await Courier().send(target, message_of([notice()], 0, "edge-01"))
    assert (answer.outcome, answer.status) == (outcome, status)
    assert len(hook.messages) == 1


async def test_a_server_that_hangs_is_left(secrets: Secrets, hook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process is killed in time, whatever the server does."""
    monkeypatch.setattr(courier, "LONGEST", 5.0)
    answer = await Courier().send(secrets.target(f"json://{LOOPBACK}:{hook.port}/hang"),
                                  message_of([notice()], 0, "edge-01"))  # fmt: skip
    assert answer.outcome is Outcome.TIMED_OUT


async def test_certificates_are_verified(tmp_path: Path, secrets: Secrets) -> None:
    """A certificate of nobody that the gateway trusts ends the connection before anything is sent."""
    authority, other = Authority(tmp_path, "plant"), Authority(tmp_path, "other")
    message = message_of([notice()], 0, "edge-01")
    with Webhook(authority.pair("hook", LOOPBACK)) as server, MailServer(authority.pair("mail", LOOPBACK)) as mails:
        hook = f"jsons://{LOOPBACK}:{server.port}/{TOKEN}"
        mail = f"mailtos://edge:{PASSWORD}@{LOOPBACK}:{mails.port}?from=edge@plant.example&to=b@plant.example"
        for url in (hook, mail):
            found = {
                name: (await Courier().send(secrets.target(url, **keys), message)).outcome
                for name, keys in {
                    "system": {}, "other": {"ca": str(other.file)}, "plant": {"ca": str(authority.file)},
                }.items()
            }  # fmt: skip
            assert found == {
                "system": Outcome.NOT_TRUSTED, "other": Outcome.NOT_TRUSTED, "plant": Outcome.DELIVERED,
            }  # fmt: skip
        off = secrets.target(f"{hook}?verify=no")
        assert (await Courier().send(off, message)).outcome is Outcome.NOT_VERIFIED
        assert (len(server.messages), len(mails.mails)) == (1, 1)
    wrong = authority.pair("elsewhere", "mail.plant.example")
    with Webhook(wrong) as server:
        target = secrets.target(f"jsons://{LOOPBACK}:{server.port}/", ca=str(authority.file))
        assert (await Courier().send(target, message)).outcome is Outcome.NOT_TRUSTED


async def test_readable_text_stays_on_this_machine(secrets: Secrets) -> None:
    """Beyond the loopback a person accepts it with `insecure`."""
    message = message_of([notice()], 0, "edge-01")
    mail = "a:b@192.0.2.1?from=a@plant.example&to=b@plant.example"
    for url in ("json://192.0.2.1/x", f"mailto://{mail}", f"mailtos://{mail}&mode=insecure"):
        assert (await Courier().send(secrets.target(url), message)).outcome is Outcome.READABLE, url


async def test_a_wrong_url_and_a_missing_secret_have_texts_of_their_own(
    secrets: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person can act on them, and they repeat nothing of the secret."""
    message = message_of([notice()], 0, "edge-01")
    answer = await Courier().send(secrets.target(f"nonsense-{TOKEN}"), message)
    assert answer.outcome is Outcome.WRONG_URL
    assert TOKEN not in f"{answer.text} {answer.hint}"
    target = secrets.target("x")
    monkeypatch.delenv("LINESIDE_SECRET_NOTIFY_SHIFT")
    assert (await Courier().send(target, message)).outcome is Outcome.NO_SECRET


@with_policy
async def test_the_policy_decides_on_the_host_of_a_url(
    tmp_path: Path, secrets: Secrets, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A URL in a secret is compared when it is used; a service of the internet is named by its scheme."""
    policy = tmp_path / "policy.yaml"
    monkeypatch.setenv(VARIABLE, str(policy))
    message = message_of([notice()], 0, "edge-01")
    target = secrets.target(f"json://{LOOPBACK}:{hook.port}/")
    found = {}
    for allowed in ("10.0.0.0/8", "127.0.0.0/8", f"json://{LOOPBACK}:{hook.port}", "slack", "jsons://*"):
        policy.write_text(yaml.safe_dump({"format": 1, "hosts": {"notify": allowed}}))
        found[allowed] = (await Courier().send(target, message)).outcome
    assert [one for one, outcome in found.items() if outcome is Outcome.DELIVERED] == [
        "127.0.0.0/8", f"json://{LOOPBACK}:{hook.port}",
    ]  # fmt: skip
    assert set(found.values()) == {Outcome.DELIVERED, Outcome.NOT_ALLOWED}
    policy.write_text(yaml.safe_dump({"format": 1, "hosts": {"notify": "127.0.0.0/8"}}))
    for url in ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#chan", "ntfys://127.0.0.1?mode=cloud"):
        assert (await Courier().send(secrets.target(url), message)).outcome is Outcome.NOT_ALLOWED


# -- the notifier --


class Bench:
    """A notifier that runs, with short pauses; `settled` are the alarms that nothing more is done about."""

    def __init__(self, targets: dict[str, NotifyTarget], limits: Limits, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(notifier, "GATHER", 0.2)
        section = NotifySection.model_construct(targets=targets, rules=())
        self.settled: list[AlarmNotice] = []
        self.notifier = Notifier(section, limits, "edge-01", self.settled.append, (0.1, 0.2))

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        task = asyncio.create_task(self.notifier.run())
        self._stack.callback(task.cancel)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def counts(self, target: str = "shift") -> dict[str, int]:
        return self.notifier.counts()[target]


USUAL = Limits(messages=20, per=600.0, give_up=3600.0)


async def test_a_flood_becomes_few_messages_that_count_it(
    secrets: Secrets, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """500 alarms in a second: each is named or counted in a handful of messages."""
    target = secrets.target(f"json://{LOOPBACK}:{hook.port}/")
    async with Bench({"shift": target}, Limits(3, 600.0, 3600.0), monkeypatch) as bench:
        for number in range(500):
            bench.notifier.put(notice(number, Priority.LOW if number % 10 else Priority.CRITICAL))
            if number > 10:  # two critical alarms come at once
                await asyncio.sleep(0.002)
        await until(lambda: len(bench.settled) == 500 or bench.counts()["sent"] == 3, "messages", SECONDS)
        assert len(hook.messages) <= 3
        named = sum((counted(one["title"]) for one in hook.messages), Counter())
        assert named == Counter(one.priority.shown for one in bench.settled)
        assert named.total() + bench.counts()["waiting"] == 500
        assert named["critical"] > 1


def counted(title: str) -> Counter[str]:
    """Return the alarms that a title counts, by their priority: `5 alarms (1 critical, 4 low): ...`, or one."""
    if not title[0].isdigit():
        return Counter([title.partition(":")[0].lower()])
    counts = Counter({priority: int(number) for number, priority in re.findall(r"(\d+) ([a-z]+)[,)]", title)})
    assert counts.total() == int(title.partition(" ")[0])
    return counts


async def test_alarms_beyond_the_limit_share_the_next_message(
    secrets: Secrets, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`at_most` merges messages, and never drops an alarm."""
    target = secrets.target(f"json://{LOOPBACK}:{hook.port}/")
    async with Bench({"shift": target}, Limits(1, 4.0, 3600.0), monkeypatch) as bench:
        bench.notifier.put(notice(0))
        await until(lambda: len(bench.settled) == 1, "the first message", SECONDS)
        for number in (1, 2, 3):
            bench.notifier.put(notice(number))
            await asyncio.sleep(0.3)
        assert len(hook.messages) == 1
        await until(lambda: len(bench.settled) == 4, "the second message", SECONDS)
        assert [one["title"].partition(" ")[0] for one in hook.messages] == ["Critical:", "3"]


async def test_a_server_that_is_down_gets_all_when_it_is_up_again(
    secrets: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure is logged once and its end once; another target has its message meanwhile."""
    port = free_port()
    with Webhook() as other, capture_logs() as logs:
        targets = {
            "shift": secrets.target(f"json://{LOOPBACK}:{port}/{TOKEN}"),
            "manager": secrets.target(f"json://{LOOPBACK}:{other.port}/", "manager"),
        }
        async with Bench(targets, USUAL, monkeypatch) as bench:
            bench.notifier.put(notice(1))
            bench.notifier.put(notice(2, target="manager"))
            await until(lambda: bench.counts()["failed"] >= 2, "two attempts", SECONDS)
            bench.notifier.put(notice(3))
            await until(lambda: len(bench.settled) == 1, "the other target", SECONDS)
            with Webhook(port=port) as server:
                await until(lambda: len(bench.settled) == 3, "all messages", SECONDS)
                assert "hot-1" in server.bodies()[0]
            assert bench.counts()["waiting"] == 0
    events = [one["event"] for one in logs]
    assert events.count("notify.not_delivered") == 1
    assert events.count("notify.delivered") == 1
    [failed] = [one for one in logs if one["event"] == "notify.not_delivered"]
    assert failed["error"] == "there is no connection to the server"
    assert TOKEN not in str(logs)


async def test_a_message_is_given_up_after_its_time(secrets: Secrets, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is counted and logged, and settled, so that no restart begins again."""
    with capture_logs() as logs:
        target = secrets.target(f"json://{LOOPBACK}:{free_port()}/")
        async with Bench({"shift": target}, Limits(20, 600.0, 0.5), monkeypatch) as bench:
            bench.notifier.put(notice(1))
            await until(lambda: bench.counts()["given_up"] == 1, "the end", SECONDS)
            assert [one.alarm for one in bench.settled] == ["hot-1"]
            assert bench.counts()["waiting"] == 0
    assert [one["alarms"] for one in logs if one["event"] == "notify.given_up"] == [1]


async def test_a_full_queue_is_counted(secrets: Secrets, monkeypatch: pytest.MonkeyPatch) -> None:
    """A target that never answers holds a thousand alarms at most."""
    target = secrets.target(f"json://{LOOPBACK}:{free_port()}/")
    with capture_logs() as logs:
        bench = Bench({"shift": target}, USUAL, monkeypatch)
        for number in range(1_010):
            bench.notifier.put(notice(number))
    assert (bench.counts()["dropped"], bench.counts()["waiting"], len(bench.settled)) == (10, 1_000, 10)
    assert {one["event"] for one in logs} == {"notify.dropped"}


# -- the whole gateway --


class Plant:
    """A machine that counts how often it is read, and a gateway that notifies of its alarms."""

    def __init__(self, folder: Path, broker: str, *devices: Machines, **gateway: Any) -> None:
        self.config = folder / "factory.yaml"
        (folder / "machines").mkdir()
        points = {"count": {"address": "holding 0", "raw": "uint32", "every": "200ms"},
                  "third": {"address": "holding 4", "raw": "float64", "every": "200ms"}}  # fmt: skip
        alarms = {
            "few": {"point": "count", "low": 1e9, "priority": "high", "message": "Only {count} parts",
                    "consequence": "No tyres", "response": "Start the line"},
            "slow": {"point": "count", "low": 1e8, "priority": "critical"},
        }  # fmt: skip
        template = {"format": 1, "protocol": "modbus", "points": points, "alarms": alarms}
        (folder / "machines" / "counter.yaml").write_text(yaml.safe_dump(template))
        names = {
            f"m-{device}{unit}": {
                "template": "counter", "connection": f"modbus+tcp://{LOOPBACK}:{one.port}?timeout=20&unit={unit}",
            }
            for device, one in enumerate(devices)
            for unit in one.served
        }  # fmt: skip
        write_factory(
            self.config,
            gateway={"id": "edge-01", "spool": {"folder": str(folder / "spool")}} | gateway,
            broker={"url": broker},
            lines={"line": {"area": "area", "machines": names}},
        )


NOTIFY = {
    "targets": {"shift": {"url": {"secret": "notify_shift"}}, "manager": {"url": {"secret": "notify_manager"}}},
    "rules": [
        {"priorities": ["high"], "targets": ["shift"]},
        {"priorities": ["critical"], "after": "15s", "targets": ["manager"]},
    ],
}  # fmt: skip


async def test_a_gateway_notifies_without_a_broker_and_over_a_kill(tmp_path: Path, hook: Webhook) -> None:
    """The line to the centre is cut: the shift is notified once, the manager in time, and no secret is anywhere."""
    port = free_port()
    hooks = {"LINESIDE_SECRET_NOTIFY_SHIFT": f"json://{LOOPBACK}:{hook.port}/shift-{TOKEN}",
             "LINESIDE_SECRET_NOTIFY_MANAGER": f"json://{LOOPBACK}:{hook.port}/manager-{TOKEN}"}  # fmt: skip
    metrics = free_port()
    async with Machines(1) as machines:
        plant = Plant(tmp_path, f"mqtt://{LOOPBACK}:{port}", machines, notify=NOTIFY, metrics={"listen": metrics})
        gateway = await Lineside.start("run", plant.config, environment=hooks)
        await until(lambda: len(hook.messages) == 1, "the message for the shift", SECONDS)
        text = await until(lambda: _scraped(metrics), "metrics", SECONDS)
        assert 'lineside_notify_messages_total{gateway="edge-01",target="shift",result="sent"} 1' in text
        spool = tmp_path / "spool"
        await until(lambda: "0s shift" in str(saved_states(spool, "edge-01")), "the commit of the states", SECONDS)
        gateway.kill()
        gateway = await Lineside.start("run", plant.config, environment=hooks)
        await until(lambda: len(hook.messages) >= 2, "the message for the manager", SECONDS)
        assert await gateway.stop() == 0
    assert [one["path"] for one in hook.messages] == [f"/shift-{TOKEN}", f"/manager-{TOKEN}"]
    assert "Only " in hook.messages[0]["message"]
    assert "Response: Start the line" in hook.messages[0]["message"]
    assert "not acknowledged for 15s" in hook.messages[1]["message"]
    for file in (one for one in tmp_path.rglob("*") if one.is_file()):
        assert TOKEN.encode() not in file.read_bytes(), file
    assert TOKEN not in text


def _scraped(port: int) -> str:
    try:
        connection = HTTPConnection(LOOPBACK, port, timeout=5)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
    except (OSError, HTTPException):
        return ""
    return text if 'target="shift",result="sent"} 1' in text else ""


async def test_each_worker_notifies_of_its_own_machines(tmp_path: Path, hook: Webhook) -> None:
    """Each alarm is sent once; an acknowledgement in one worker stops its escalation alone."""
    broker = await Mosquitto.start(tmp_path)
    hooks = {f"LINESIDE_SECRET_NOTIFY_{name.upper()}": f"json://{LOOPBACK}:{hook.port}/{name}"
             for name in ("shift", "manager")}  # fmt: skip
    async with Machines(2) as first, Machines(2) as second:
        plant = Plant(tmp_path, broker.url, first, second, notify=NOTIFY, workers=2,
                      commands={"unsigned_alarms": True})  # fmt: skip
        gateway = await Lineside.start("run", plant.config, environment=hooks)

        def reached(name: str) -> set[str]:
            of = [one["message"] for one in hook.messages if one["path"] == f"/{name}"]
            return {
                machine for machine in ("m-01", "m-02", "m-11", "m-12") if any(f"/{machine}\n" in one for one in of)
            }

        await until(lambda: len(reached("shift")) == 4, "all machines", SECONDS)
        await gateway.logged("mqtt.connected")
        assert 2 <= sum(one["path"] == "/shift" for one in hook.messages) <= 4
        command = ("alarms", "acknowledge", str(plant.config), "m-02", "slow")
        assert not reached("manager")
        while True:
            done = await lineside(*command)
            if done.code != 3:  # it was sent before the worker subscribed
                break
            await asyncio.sleep(0.2)
        assert done.text == "done\n"
        await until(lambda: len(reached("manager")) >= 3, "the escalation", SECONDS)
        # the alarms of a worker are due together, and share a message
        assert reached("manager") == {"m-01", "m-11", "m-12"}
        assert await gateway.stop() == 0


async def test_the_command_sends_a_test_to_each_target(tmp_path: Path, hook: Webhook) -> None:
    """It says the outcome for each target, exits with 1 unless all were delivered, and shows no URL."""
    environment = {**os.environ, "LINESIDE_SECRET_NOTIFY_SHIFT": f"json://{LOOPBACK}:{hook.port}/{TOKEN}",
                   "LINESIDE_SECRET_NOTIFY_MANAGER": f"json://{LOOPBACK}:{free_port()}/{TOKEN}"}  # fmt: skip
    async with Machines(1) as machines:
        config = str(Plant(tmp_path, "mqtt://127.0.0.1:1", machines, notify=NOTIFY).config)
    only = await lineside("notify", config, "--test", "--target", "shift", environment=environment)
    assert (only.code, only.text) == (0, "shift: delivered\n")
    assert hook.messages[0]["title"] == "Test: notification of edge-01"
    both = await lineside("notify", config, "--test", "--format", "json", environment=environment)
    assert both.code == 1
    found = json.loads(both.text)["targets"]
    assert [(name, one["outcome"]) for name, one in found.items()] == [
        ("shift", "delivered"), ("manager", "no_connection")
    ]  # fmt: skip
    environment["LINESIDE_SECRET_NOTIFY_MANAGER"] = TOKEN
    wrong = await lineside("notify", config, "--test", environment=environment)
    assert wrong.code == 1
    assert "manager: the secret is not a URL of Apprise; write a URL of Apprise into the secret" in wrong.text
    checked = await lineside("validate", config, environment=environment)
    archive = tmp_path / "d.tar.gz"
    reported = await lineside("diagnose", config, "--out", str(archive), environment=environment)
    for one in (only, both, wrong, checked, reported):
        assert TOKEN not in one.text + one.error
    assert (checked.code, reported.code) == (0, 0)
    assert TOKEN.encode() not in gzip.decompress(archive.read_bytes())
