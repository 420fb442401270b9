"""What machines are: told by the gateway, known to ingest by an id, and kept over restarts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import orjson
import pytest
import structlog
from points import node

from gateway.acquisition.metadata_history import EARLIER, MetaHistory, encode_meta
from gateway.ingest.metadata_registry import MetadataRegistry
from gateway.model.metadata import MachineMeta, decode_meta
from gateway.model.path import MachinePath
from gateway.settings.factory import Machine

if TYPE_CHECKING:
    from pathlib import Path

PATH = MachinePath("e", "s", "a", "l", "m")
OTHER = PATH._replace(machine="n")


def machine(path: MachinePath = PATH, **units: str) -> Machine:
    """Return a machine whose points are floats of these units."""
    points = tuple(node(name, type="float", unit=unit, description="said at length") for name, unit in units.items())
    protocol: Any = type("Protocol", (), {"name": "opcua"})
    return Machine(path, "press", protocol, cast("Any", None), points)


def test_what_is_encoded_is_decoded_again() -> None:
    """With its id, which a record names; and what it was earlier."""
    now, before = machine(p="kPa", q=""), [machine(p="bar").meta, machine(p="Pa").meta]
    payload = encode_meta(now, before)
    assert decode_meta(payload) == [now.meta, *before]
    assert orjson.loads(payload)["id"] == now.meta.id
    assert decode_meta(encode_meta(now)) == [now.meta]


def test_a_description_in_other_words_is_the_same() -> None:
    """Else each correction of a text would be a version to keep."""
    assert machine(p="bar").meta.id == MachineMeta("press", {"p": "float"}, {"p": "bar"}).id


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
def test_what_is_no_description_is_told(payload: bytes) -> None:
    """Ingest sets it aside with these words."""
    with pytest.raises(ValueError, match=r"."):
        decode_meta(payload)


# -- of a gateway --


def test_a_gateway_remembers_what_its_machines_were(tmp_path: Path) -> None:
    """Records that were made then may still be in its spool."""
    file = tmp_path / "folder" / "edge.metas.json"
    first, second, third = machine(p="bar"), machine(p="kPa"), machine(p="Pa")
    assert MetaHistory(file).update([first]) == {PATH: []}
    assert MetaHistory(file).update([first]) == {PATH: []}
    assert MetaHistory(file).update([second, machine(OTHER, q="")]) == {PATH: [first.meta], OTHER: []}
    assert MetaHistory(file).update([machine(OTHER, q="")]) == {OTHER: []}
    assert MetaHistory(file).update([third]) == {PATH: [second.meta, first.meta]}
    assert MetaHistory(file).update([first]) == {PATH: [third.meta, second.meta]}


def test_a_gateway_remembers_a_few_and_not_all(tmp_path: Path) -> None:
    """The retained message must not grow for years."""
    file = tmp_path / "edge.metas.json"
    units = ["bar", "mbar", "Pa", "hPa", "kPa", "MPa", "K", "Cel"]
    for unit in units:
        found = MetaHistory(file).update([machine(p=unit)])
    assert found == {PATH: [machine(p=unit).meta for unit in ("K", "MPa", "kPa", "hPa")]}
    assert len(found[PATH]) == EARLIER


# -- of ingest --


def test_ingest_finds_what_a_record_names() -> None:
    """And for one that names nothing, what its machine is now."""
    now, before = MachineMeta("t", {"a": "int"}, {"a": "kPa"}), MachineMeta("t", {"a": "int"}, {"a": "bar"})
    metas = MetadataRegistry()
    assert metas.find(PATH, "") is None
    metas.add(PATH, [now, before])
    assert metas.find(PATH, "") == now
    assert metas.find(PATH, before.id) == before
    assert metas.find(OTHER, before.id) == before
    assert metas.find(OTHER, "") is None
    assert metas.find(PATH, "0123456789ab") is None


def test_ingest_remembers_over_a_restart(tmp_path: Path) -> None:
    """The broker may have lost what was retained, and the gateway's next connect may be hours away."""
    file = tmp_path / "folder" / "ingest.metas.json"
    now, before = MachineMeta("t", {"a": "int"}, {"a": "kPa"}), MachineMeta("t", {"a": "int"}, {"a": "bar"})
    metas = MetadataRegistry(file)
    metas.load()
    metas.add(PATH, [now, before])
    metas.save()
    again = MetadataRegistry(file)
    again.load()
    assert [again.find(PATH, key) for key in ("", now.id, before.id)] == [now, now, before]
    written = file.stat().st_mtime_ns
    again.add(PATH, [now])
    again.save()
    assert file.stat().st_mtime_ns == written


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"metas":5}', b'{"metas":[5]}', b'{"metas":[{}]}', b"null"])
def test_a_damaged_file_is_learnt_anew(tmp_path: Path, content: bytes) -> None:
    """A start never fails for it: what it held is published as well."""
    file = tmp_path / "metas.json"
    file.write_bytes(content)
    with structlog.testing.capture_logs() as logs:
        metas = MetadataRegistry(file)
        metas.load()
        assert MetaHistory(file).update([machine(p="bar")]) == {PATH: []}
    assert [log["event"] for log in logs] == ["metadata.unreadable", "metas.unreadable"]
    assert metas.find(PATH, "") is None


def test_what_ingest_remembers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody may publish descriptions."""
    monkeypatch.setattr("gateway.ingest.metadata_registry.MAX_METADATA", 5)
    monkeypatch.setattr("gateway.ingest.metadata_registry.MAX_MACHINES", 5)
    metas = MetadataRegistry()
    made = [MachineMeta(f"t{number}") for number in range(20)]
    for number, meta in enumerate(made):
        metas.add(PATH._replace(machine=f"m{number}"), [meta])
    assert [meta for meta in made if metas.find(PATH, meta.id)] == made[-5:]
    assert metas.find(PATH._replace(machine="m3"), "") is None
    assert metas.find(PATH._replace(machine="m19"), "") == made[-1]
