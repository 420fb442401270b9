"""Damaged bytes for parsers that read files and requests: each gives a value, or its documented error.

`LINESIDE_FUZZ` is the number of examples of each; docs/fuzzing.md lists all fuzzers of the project.
"""

from __future__ import annotations

import gzip
import io
import re
import tarfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fuzzing import CORPUS, FUZZERS, corpus, examples, mutated
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError
from starlette.datastructures import Headers

from gateway.acquisition.discovery import read_found
from gateway.audit.entry import Malformed, parse_line
from gateway.audit.files import UnreadableHead, read_head
from gateway.audit.keys import UnusableKey, open_key, public_keys
from gateway.backup.container import ArchiveReader, BadArchive
from gateway.backup.encrypted import MAGIC as ENCRYPTED
from gateway.backup.encrypted import read_header
from gateway.backup.manifest import NAME, BadManifest, parse_manifest
from gateway.backup.sealed import MAGIC, WrongPassphrase, unseal
from gateway.common.atomic_file import JsonEntries
from gateway.common.dead_letters import read_letters
from gateway.dashboard.alarms.requests import NoteRequest
from gateway.dashboard.security.origin import Hosts, is_same_origin
from gateway.dashboard.trends.errors import BadRequest
from gateway.dashboard.trends.selection import clock, machine_of, points_of, span_of, width_of
from gateway.importers.formats import read
from gateway.importers.found import Options
from gateway.mqtt.packets import ReceivedMessage
from gateway.mqtt.signed import read_signed
from gateway.mqtt.verifier import Verifier
from gateway.pipeline.totals import read_totals
from gateway.self_test.outcome import Unreadable, parse_report
from gateway.settings.dashboard_section import DashboardSection
from gateway.settings.load import load_factory
from gateway.settings.sections import WhenFull
from gateway.spool.checkpoint import NewerSpool, decode_checkpoint
from gateway.spool.database import SpoolDatabase
from gateway.spool.files import SpoolFiles
from gateway.status.box import read_box
from gateway.status.box_text import box_text
from gateway.users.users_file import UnusableUsers, read_users
from gateway.workers.assignment import read_assignment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.settings.factory import Factory

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


# -- archives of gateways --


def _entry(name: str, size: int, kind: bytes) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size, entry.type = size, kind
    return entry.tobuf(tarfile.GNU_FORMAT)


HEADERS = st.builds(
    _entry,
    st.sampled_from([NAME, "state/edge-01.spool.db", "../x", "a/" * 50, "", "\u00e4"]),
    st.sampled_from([0, 1, 511, 512, 513, 2**33, 2**60]),
    st.sampled_from([tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, b"\0", b"x"]),
)


@examples
@example(b"")
@given(st.one_of(st.lists(st.one_of(HEADERS, st.binary(max_size=600)), max_size=5).map(b"".join), mutated("archive")))
def test_any_archive_is_read_in_pieces_or_refused(plain: bytes) -> None:
    """A member is a regular file of the size that its header says, or the archive is refused."""
    reader = ArchiveReader(io.BytesIO(gzip.compress(plain, 1)))
    with suppress(BadArchive):
        while (found := reader.next()) is not None:
            target = io.BytesIO()
            reader.copy(target)
            assert len(target.getvalue()) == found[1]


@examples
@given(st.one_of(st.binary(max_size=300), mutated("manifest")))
def test_any_manifest_is_read_or_refused(data: bytes) -> None:
    with suppress(BadManifest):
        parse_manifest(data)


_SALT = b'{"salt":"AAAAAAAAAAAAAAAAAAAAAA=="}'


@examples
@example(_SALT + b"\n")
@given(
    st.one_of(
        st.binary(max_size=300), st.text(max_size=300).map(str.encode), st.binary(max_size=9).map(_SALT.__add__)
    )
)
def test_any_header_of_an_encrypted_archive_is_read_or_refused(data: bytes) -> None:
    """A header names one kind of key, and the bytes behind it are the chunks."""
    file = io.BytesIO(ENCRYPTED + data)
    with suppress(BadArchive):
        header = read_header(file)
        assert header is not None
        assert header.needs_passphrase or (header.recipient and header.ephemeral)
        assert file.tell() == len(ENCRYPTED) + data.index(b"\n") + 1


@pytest.mark.fuzz
@pytest.mark.parametrize("data", [b"", MAGIC, MAGIC + bytes(27), MAGIC + bytes(28), MAGIC + bytes(100), bytes(100)])
def test_any_sealed_member_is_refused_without_its_passphrase(data: bytes) -> None:
    """Few examples: each costs a key of scrypt."""
    with pytest.raises(WrongPassphrase):
        unseal(data, "passphrase", b"")


# -- files of the services --


@examples
@given(mutated("users"))
def test_any_users_file_is_read_or_refused(folder: Path, data: bytes) -> None:
    file = folder / "users.yaml"
    file.touch(0o600)
    file.write_bytes(data)
    with suppress(UnusableUsers):
        read_users(file)


@examples
@given(mutated("audit"))
def test_any_line_of_an_audit_log_is_an_entry_or_malformed(data: bytes) -> None:
    for line in data.splitlines(keepends=True):
        with suppress(Malformed):
            assert parse_line(line)["n"] >= 1


@examples
@given(mutated("audit-head"))
def test_any_head_and_key_of_an_audit_log_is_read_or_refused(folder: Path, data: bytes) -> None:
    for name in ("audit-head.json", "audit-key.pem", "audit-0000000000000000.pub"):
        (folder / name).touch(0o600)
        (folder / name).write_bytes(data)
    with suppress(UnreadableHead):
        read_head(folder)
    with suppress(UnusableKey):
        open_key(folder)
    with suppress(UnusableKey):
        public_keys(folder)


@examples
@given(mutated("checkpoint"))
def test_any_checkpoint_is_consistent_or_none(data: bytes) -> None:
    """The ledger and the numbers of pending records, as they are in the spool and in its second copy."""
    with suppress(NewerSpool):
        found = decode_checkpoint(data)
        assert found is None or found.is_consistent


@examples
@given(mutated("spool"), st.booleans())
def test_any_spool_is_opened(tmp_path_factory: pytest.TempPathFactory, data: bytes, in_log: bool) -> None:  # noqa: FBT001
    """A start never fails because of damage, and the ledger that it ends with balances."""
    files = SpoolFiles(tmp_path_factory.mktemp("spool"), "edge-01")
    (files.wal if in_log else files.db).write_bytes(data)
    if in_log:
        files.db.write_bytes(corpus("spool")[0])
    database = SpoolDatabase(files, 2**22, WhenFull.DROP_OLDEST)
    try:
        database.open()
        assert database.state.records == sum(last - first + 1 for first, last in database.pending)
    except NewerSpool:
        pass
    finally:
        database.close()


@pytest.fixture(scope="module")
def factory(folder: Path) -> Factory:
    text = (
        "format: 1\nfactory: {enterprise: e, site: s}\nbroker: {url: 'mqtt://127.0.0.1:1'}\n"
        "gateway: {id: edge-01, spool: {folder: state}}\ningest: {folder: state}\n"
        "lines: {l: {area: a, machines: {m: {template: curing-press, connection: modbus+tcp://127.0.0.1:1}}}}\n"
    )
    (folder / "factory.yaml").write_text(text)
    (folder / "state").mkdir()
    return load_factory(folder / "factory.yaml")


@examples
@given(mutated("status"))
def test_any_state_file_is_read_or_left_out(factory: Factory, data: bytes) -> None:
    """Status, reload, assignment, self-test, dead letters: `lineside status` shows what is left."""
    state = factory.gateway.spool.folder
    for name in ("edge-01.status.json", "ingest.status.json", "edge-01.configuration.json", "edge-01.workers.json",
                 "edge-01.self-test.json", "edge-01.totals.json", "edge-01.found.json", "edge-01.set-aside.jsonl",
                 "edge-01.metas.json"):  # fmt: skip
        (state / name).write_bytes(data)
    assert box_text(read_box(factory))
    read_assignment(state / "edge-01.workers.json")
    read_totals(state / "edge-01.totals.json")
    read_found(state / "edge-01.found.json")
    assert all(isinstance(one, dict) for one in read_letters(state / "edge-01.set-aside.jsonl"))
    assert isinstance(JsonEntries(state / "edge-01.metas.json").load(), dict)
    with suppress(Unreadable):
        parse_report(data)


# -- messages --

STATE = "lineside/v1/acme/north/curing/curing-1/press-01/state"
KEY = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
"""The first public key of RFC 8032, 7.1."""

[SIGNED] = corpus("signed-message")


@examples
@given(mutated("signed-message"))
def test_any_damaged_message_is_not_verified(data: bytes) -> None:
    """It is the message of its signer, or refused; the last letter of base64 has bits that mean nothing."""
    verdict = Verifier("lineside/v1", {"edge-01": [KEY]}).check(ReceivedMessage(STATE, data))
    assert verdict.verified is (not verdict.fault)
    assert not verdict.verified or read_signed(data) == read_signed(SIGNED)


# -- configuration and imports --


IMPORTS = {
    file.relative_to(ROOT / "tests/cases/import").as_posix(): file.read_bytes()
    for file in sorted((ROOT / "tests/cases/import").glob("*/*"))
    if file.is_file() and file.name not in {"notes.txt", "options.txt"}
}


@examples
@given(st.sampled_from(sorted(IMPORTS)).flatmap(lambda name: st.tuples(st.just(name), mutated(IMPORTS[name]))))
def test_any_file_to_import_is_read_or_refused_in_a_line(folder: Path, found: tuple[str, bytes]) -> None:
    """All formats, each with the file of its case: machines with notes, or the line that the command prints."""
    name, data = found
    file = folder / Path(name).name
    file.write_bytes(data)
    try:
        read(file, Options(connection="modbus+tcp://10.0.0.1:502", machine=""))
    except ValueError as error:
        assert str(error)  # noqa: PT017 - any error that the command prints


# -- requests of the page --

TEXTS = st.one_of(
    st.text(max_size=60),
    st.sampled_from(["now", "-1h", "-" + "9" * 400 + "d", "1e400", "0", "2026-01-01T00:00:00+99:99", "a/b/c/d/e/f"]),
)


@examples
@given(
    st.dictionaries(st.sampled_from(["from", "to", "width", "point", "machine"]), TEXTS), st.lists(TEXTS, max_size=3)
)
def test_any_query_of_a_trend_is_read_or_refused(query: dict[str, str], points: list[str]) -> None:
    for parse in (
        lambda: span_of(query, clock()),
        lambda: width_of(query),
        lambda: points_of(points),
        lambda: machine_of(query.get("machine", "")),
    ):
        with suppress(BadRequest):
            parse()


@examples
@given(mutated("note"))
def test_any_note_of_an_alarm_is_read_or_refused(data: bytes) -> None:
    with suppress(ValidationError):
        NoteRequest.model_validate_json(data)


HEADER = st.tuples(
    st.sampled_from([b"host", b"origin", b"sec-fetch-site", b"referer"]),
    st.one_of(st.binary(max_size=40), st.sampled_from([b"localhost", b"127.0.0.1:99999", b"[::1]", b"http://a:b@c"])),
)


@examples
@given(st.lists(HEADER, max_size=4), st.sampled_from(["http", "https"]))
def test_any_headers_are_of_this_server_or_not(headers: list[tuple[bytes, bytes]], scheme: str) -> None:
    """Host and origin decide whether a request is answered at all: no error may decide it."""
    found = Headers(raw=headers)
    assert Hosts(DashboardSection()).allows(found) in {True, False}
    assert is_same_origin(found, scheme) in {True, False}


# -- the list --


def _rows() -> Iterator[tuple[str, str]]:
    text = (ROOT / "docs" / "fuzzing.md").read_text(encoding="utf-8")
    yield from re.findall(r"`((?:unit|contract|end_to_end)/test_\w+\.py)::(test_\w+)`", text)


def test_every_fuzzer_of_the_document_exists_and_is_run() -> None:
    """A parser that the table says is fuzzed is fuzzed."""
    rows = set(_rows())
    for file, name in rows:
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), f"{file}::{name}"
    text = Path(__file__).read_text(encoding="utf-8")
    here = re.findall(r"^@(?:pytest.mark.fuzz|examples)\n(?:.*\n)*?def (test_\w+)", text, re.MULTILINE)
    own = {("unit/test_fuzz.py", name) for name in here}
    assert len(own) > 12
    assert own <= rows
    assert set(FUZZERS) <= rows


@pytest.mark.parametrize("name", sorted(one.name for one in CORPUS.iterdir()))
def test_each_corpus_is_small_and_not_empty(name: str) -> None:
    """It is committed, and each file of it is read by the parser as it is."""
    found: list[Any] = corpus(name)
    assert found
    assert all(0 < len(data) <= 64 * 1024 for data in found)
