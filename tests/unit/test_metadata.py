"""Metadata of machines: published by the gateway, known to ingest by an id, and kept over restarts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import orjson
import pytest
import structlog
from points import node

from gateway.acquisition.device_metadata import encode_meta
from gateway.common.worker_thread import WorkerThread
from gateway.ingest import metadata_registry
from gateway.ingest.metadata_registry import MetadataRegistry
from gateway.model.metadata import MachineMeta, read_meta, write_meta
from gateway.model.path import MachinePath
from gateway.mqtt.messages import BadMessage, parse_meta
from gateway.settings.factory import Machine
from gateway.settings.results import result_point

if TYPE_CHECKING:
    from pathlib import Path

PATH = MachinePath("e", "s", "a", "l", "m")
OTHER = PATH._replace(machine="n")


def machine(path: MachinePath = PATH, **units: str) -> Machine:
    """Return a machine whose points are floats of these units."""
    points = tuple(node(name, type="float", unit=unit, description="said at length") for name, unit in units.items())
    protocol: Any = type("Protocol", (), {"name": "opcua"})
    return Machine(path, "press", protocol, cast("Any", None), points)


def test_encoded_metadata_is_decoded_again() -> None:
    """It includes the id that a record names, and the earlier versions."""
    now, before = machine(p="kPa", q=""), [machine(p="bar").meta, machine(p="Pa").meta]
    payload = encode_meta(now, before)
    assert parse_meta(payload).metas == [now.meta, *before]
    assert orjson.loads(payload)["id"] == now.meta.id
    assert parse_meta(encode_meta(now)).metas == [now.meta]


def test_a_description_in_other_words_is_the_same() -> None:
    """Otherwise each correction of a text would be a version to keep."""
    assert machine(p="bar").meta.id == MachineMeta("press", {"p": "float"}, {"p": "bar"}).id


def test_contents_are_published_and_read_again() -> None:
    """Stores learn from them which readings are rows of tables; without any, the id is that of older releases."""
    plain = machine(p="bar")
    whole = replace(plain, results=(result_point("alarms", "alarm", "the alarms"),))
    assert whole.meta.contents == {"alarms": "alarm"}
    payload = encode_meta(whole, [plain.meta, whole.meta])
    assert orjson.loads(payload)["points"]["alarms"]["content"] == "alarm"
    assert parse_meta(payload).metas == [whole.meta, plain.meta, whole.meta]
    assert read_meta(orjson.loads(orjson.dumps(write_meta(whole.meta)))) == whole.meta
    assert plain.meta.id == "12cfecdf992d"
    assert whole.meta.id != MachineMeta("press", whole.meta.types, whole.meta.units).id
    with pytest.raises(BadMessage):
        parse_meta(b'{"template":"t","points":{"a":{"type":"json","content":"A b"}}}')


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"null", b"[]", b"5", b"{}", b'{"template":"t"}', b'{"points":{}}', b'{"template":5,"points":{}}',
        b'{"template":"","points":{}}', b'{"template":"t","points":[]}', b'{"template":"t","points":{"a":5}}',
        b'{"template":"t","points":{"a":{}}}', b'{"template":"t","points":{"a":{"type":"float","unit":5}}}',
        b'{"template":"t","points":{"a":{"type":"double","unit":""}}}',
        b'{"template":"t","points":{"a":{"type":["float"],"unit":""}}}',
        b'{"template":"t","points":{},"earlier":5}', b'{"template":"t","points":{},"earlier":[5]}',
    ],
)  # fmt: skip
def test_a_payload_that_is_not_metadata_is_refused_with_a_reason(payload: bytes) -> None:
    """Ingest sets it aside with these words."""
    with pytest.raises(BadMessage, match=r"."):
        parse_meta(payload)


# -- of ingest --


def test_ingest_finds_the_metadata_that_a_record_names() -> None:
    """For a record without a metadata id it finds the present metadata of the machine."""
    now, before = MachineMeta("t", {"a": "int"}, {"a": "kPa"}), MachineMeta("t", {"a": "int"}, {"a": "bar"})
    metas = MetadataRegistry()
    assert metas.find(PATH, "") is None
    metas.add(PATH, [now, before])
    assert metas.find(PATH, "") == now
    assert metas.find(PATH, before.id) == before
    assert metas.find(OTHER, before.id) == before
    assert metas.find(OTHER, "") is None
    assert metas.find(PATH, "0123456789ab") is None


async def saved(registry: MetadataRegistry) -> bool:
    """Save as ingest does; return whether there was a change."""
    changed, disk = registry.changed, WorkerThread("disk")
    await registry.save(disk)
    disk.stop()
    return changed


async def test_ingest_remembers_over_a_restart(tmp_path: Path) -> None:
    """The broker may have lost its retained messages, and the gateway's next connect may be hours away."""
    file = tmp_path / "folder" / "ingest.metas.json"
    now, before = MachineMeta("t", {"a": "int"}, {"a": "kPa"}), MachineMeta("t", {"a": "int"}, {"a": "bar"})
    registry = MetadataRegistry(file)
    registry.load()
    registry.add(PATH, [now, before])
    assert await saved(registry)
    again = MetadataRegistry(file)
    again.load()
    assert [again.find(PATH, key) for key in ("", now.id, before.id)] == [now, now, before]
    again.add(PATH, [now])
    assert not await saved(again)


async def test_a_file_that_can_not_be_written_is_logged_once_and_written_later(tmp_path: Path) -> None:
    """A read-only disk must not end ingest, nor fill its log."""
    (tmp_path / "folder").write_text("a file where a folder belongs", encoding="utf-8")
    registry = MetadataRegistry(tmp_path / "folder" / "ingest.metas.json")
    with structlog.testing.capture_logs() as logs:
        registry.load()
        for number in range(3):
            registry.add(PATH, [MachineMeta(f"t{number}")])
            assert await saved(registry)
        (tmp_path / "folder").unlink()
        assert await saved(registry)
    assert [log["event"] for log in logs] == ["metadata.unreadable", "metadata.not_saved", "metadata.saved"]
    assert not await saved(registry)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b'{"metas":5}', b'{"metas":[5]}', b'{"metas":[{}]}', b"null", b"[" * 100_000,
        b'{"metas":[{"template":"a\\n","points":{}}]}', b'{"machines":{"a":5}}', b'{"metas":[' + b"9" * 5_000 + b"]}",
    ],
)  # fmt: skip
def test_the_metadata_of_a_damaged_file_is_learned_again(tmp_path: Path, content: bytes) -> None:
    """It never makes a start fail: gateways publish the same metadata."""
    file = tmp_path / "metas.json"
    file.write_bytes(content)
    with structlog.testing.capture_logs() as logs:
        registry = MetadataRegistry(file)
        registry.load()
    assert [log["event"] for log in logs] == ["metadata.unreadable"]
    assert registry.find(PATH, "") is None


# -- bounds: anybody may publish metadata --


def test_metadata_of_one_machine_never_displaces_that_of_another() -> None:
    """One publisher with the right to its own topic alone must not stop the others' records."""
    registry = MetadataRegistry()
    genuine = MachineMeta("press", {"x": "float"}, {"x": "bar"})
    registry.add(PATH, [genuine])
    for number in range(5_000):
        registry.add(OTHER, [MachineMeta(f"t{number}"), MachineMeta(f"u{number}")])
    assert registry.find(PATH, "") == registry.find(PATH, genuine.id) == genuine
    assert len(registry) <= metadata_registry.MAX_OF_MACHINE + 1
    assert registry.find(OTHER, "") == MachineMeta("t4999")


def test_metadata_that_machines_share_stays_as_long_as_one_of_them_has_it() -> None:
    """A publisher must not make others lose theirs by claiming it and then many more."""
    registry = MetadataRegistry()
    shared = MachineMeta("press", {"x": "float"}, {"x": "bar"})
    registry.add(PATH, [shared])
    registry.add(OTHER, [shared])
    for number in range(200):
        registry.add(OTHER, [MachineMeta(f"t{number}")])
    assert registry.find(PATH, "") == shared


def test_metadata_that_records_need_outlives_a_flood_of_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Metadata that no record has needed for the longest time is removed first."""
    monkeypatch.setattr(metadata_registry, "MAX_BYTES", 50_000)
    registry = MetadataRegistry()
    genuine = MachineMeta("press", {"x": "float"}, {"x": "bar"})
    registry.add(PATH, [genuine])
    for number in range(5_000):
        registry.add(PATH._replace(machine=f"m{number}"), [MachineMeta(f"t{number}")])
        assert registry.find(PATH, genuine.id) == genuine
    assert len(registry) < 2_000
    assert registry.find(PATH, "") == genuine


def test_machines_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata_registry, "MAX_MACHINES", 50)
    registry = MetadataRegistry()
    made = [MachineMeta(f"t{number}") for number in range(200)]
    for number, meta in enumerate(made):
        registry.add(PATH._replace(machine=f"m{number}"), [meta])
    assert len(registry) <= 50
    assert registry.find(PATH._replace(machine="m3"), "") is None
    assert registry.find(PATH._replace(machine="m199"), "") == made[-1]


def test_large_metadata_of_one_machine_is_bounded_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata_registry, "MAX_BYTES_OF_MACHINE", 10_000)
    registry = MetadataRegistry()
    for number in range(20):
        points = {f"p{n}": "float" for n in range(100)}
        registry.add(PATH, [MachineMeta(f"t{number}", points, dict.fromkeys(points, "bar"))])
    assert len(registry) <= 3
