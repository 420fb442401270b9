"""The checks of the self-test. Each yields problems and warnings, and changes nothing but a file that it removes."""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.audit.entry import Malformed, parse_line
from gateway.audit.files import UnreadableHead, log_files, read_head
from gateway.audit.keys import HEAD, UnusableKey, is_signed, public_keys
from gateway.common.clock import kernel_clock
from gateway.self_test.certificates import Pair, problems_of
from gateway.self_test.outcome import MOST_PROBLEMS, Outcome, Report, Result
from gateway.settings.contents import secrets_of, sections_of
from gateway.settings.encrypted_storage import storage_of
from gateway.settings.policy import read_policy
from gateway.settings.sections import ClockTrust
from gateway.settings.shared_key import shared_key_problems
from gateway.settings.storage_section import Encrypted
from gateway.settings.unauthenticated import unauthenticated
from gateway.spool.errors import is_damage
from gateway.spool.inspect import NotReadable, inspect
from gateway.spool.integrity import open_read_only
from gateway.spool.limits import LEAST_FREE
from gateway.spool.siblings import spools_of
from gateway.storage.swap import verdict_of_swap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from drivers.tls import TlsFiles
    from gateway.settings.factory import Factory

    Check = Callable[[Factory], Iterator[str]]
    """Yields problems, warnings (`Warned`), and statements (`Note`)."""


class Note(str):
    """A line of a check that is a fact for the person who assesses the box, and not a problem."""

    __slots__ = ()


SLOW_SYNC = 1.0
"""Seconds for a small file to be on the disk from which on the disk is too slow for a commit each 40 ms."""

RELEASED = 1_764_547_200
"""2025-12-01 in seconds since the epoch: a clock before it was never set."""

AHEAD = 86_400.0
"""Seconds by which a file may be newer than the clock: from there on the clock was set back, or not set."""

TAIL = 2**20
"""Bytes of the audit log, at its end, that are checked; lineside audit verify checks all of it."""

LARGEST_CHECKED = 64 * 2**20
"""Bytes of the largest spool whose pages are all read. A gateway checks the heads of all records at its start."""


class Warned(str):
    """A finding of a check that does not let it fail."""

    __slots__ = ()


class NotApplicable(Exception):
    """There is nothing to check here; the message says why."""


def check_permissions(factory: Factory) -> Iterator[str]:
    """Find files of the services that other users of the box can change, and secrets that they can read."""
    folders = (factory.gateway.spool.folder, factory.ingest.folder, *_audit_folders(factory))
    for folder in dict.fromkeys(folders):
        yield from _writable_by_others(folder)
        if folder.is_dir() and not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            yield f"{folder} can't be used by this user; run chown on it"
    for file in factory.files:
        yield from _writable_by_others(file)
    for file in _secret_files(factory):
        with suppress(OSError):
            mode = file.stat().st_mode
            if mode & (stat.S_IRWXO | stat.S_IWGRP | stat.S_IXGRP):
                yield f"{file} has a secret, and others can read or change it; run chmod 600 {file}"


def _audit_folders(factory: Factory) -> list[Path]:
    """Return the folders of the audit logs of page and gateway, and of ingest, each once."""
    return list(dict.fromkeys((factory.dashboard.audit.folder, factory.ingest.audit.folder)))


def _writable_by_others(path: Path) -> Iterator[str]:
    with suppress(OSError):
        mode = path.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            yield f"every user of this box can change {path}; run chmod o-w {path}"


def _secret_files(factory: Factory) -> Iterator[Path]:
    dashboard = factory.dashboard
    yield dashboard.users
    yield from (folder / "audit-key.pem" for folder in _audit_folders(factory))
    servers = (dashboard.tls, factory.gateway.metrics.tls, factory.ingest.metrics.tls)
    sections = [*sections_of(factory), *(one for one in servers if one is not None)]
    yield from dict.fromkeys(key.file for section in sections for key in getattr(section, "key_files", ()))
    yield from (Path(one.file) for one in secrets_of(factory) if one.file)


def check_certificates(factory: Factory) -> Iterator[str]:
    """Find certificates and keys that can't be used, have expired, or soon will."""
    tls = factory.dashboard.tls
    pairs = [*_opcua_pairs(factory), *_tls_pairs(factory)]
    if tls is not None:
        pairs.append(Pair("certificate of the page", tls.certificate, tls.key, tls.key_password))
    for name, metrics in (("the gateway", factory.gateway.metrics), ("ingest", factory.ingest.metrics)):
        if metrics.listen is not None and (of_metrics := metrics.tls) is not None:
            whose = f"metrics of {name}"
            pairs.append(
                Pair(f"certificate of the {whose}", of_metrics.certificate, of_metrics.key, of_metrics.key_password)
            )
            if of_metrics.client_ca is not None:
                pairs.append(Pair(f"authority of clients of the {whose}", of_metrics.client_ca))
    for pair in pairs:
        yield from problems_of(pair)


def check_keys(factory: Factory) -> Iterator[str]:
    """Find a key that gateways and ingest share, and that is too short to be hard to guess."""
    yield from (str(one) for one in shared_key_problems(factory))


def _tls_pairs(factory: Factory) -> Iterator[Pair]:
    """Yield the authorities and certificates for the broker, the stores and the devices, each file once."""
    ends: list[tuple[str, object]] = [("the broker", factory.broker)]
    stores = zip(factory.store_names, factory.stores, strict=True)
    ends += [(f"the store {name}", entry.settings) for name, entry in stores]
    ends += [(f"machine {machine.path.machine}", machine.connection) for machine in factory.machines]
    seen: set[Path] = set()
    for name, section in ends:
        files: TlsFiles | None = getattr(section, "tls_files", None)
        if files is None:
            continue
        if files.ca is not None and files.ca not in seen:
            yield Pair(f"authority of {name}", files.ca)
        if files.certificate is not None and files.certificate not in seen:
            yield Pair(f"certificate for {name}", files.certificate, files.key, files.key_password)
        seen.update(one for one in (files.ca, files.certificate) if one is not None)


def _opcua_pairs(factory: Factory) -> Iterator[Pair]:
    """Yield the certificates of the gateway toward OPC UA servers that are there; the first connection makes them."""
    connections = [machine.connection for machine in factory.machines]
    passwords = {
        folder: getattr(one, "key_password", None)
        for one in connections
        if (folder := getattr(one, "pki", None)) is not None
    }
    for folder in sorted(passwords):
        certificate, key = folder / "own" / "certs" / "lineside.der", folder / "own" / "private" / "lineside.pem"
        if certificate.exists():
            yield Pair("OPC UA", certificate, key, passwords[folder])


def check_connections(factory: Factory) -> Iterator[str]:
    """Note the machines whose protocol has no authentication. A policy refuses them, and nothing here."""
    yield from (Note(one.text) for one in unauthenticated(factory.machines))


def check_disk(factory: Factory) -> Iterator[str]:
    """Find a disk that is nearly full, refuses, returns other bytes, or is slow."""
    folder = factory.gateway.spool.folder
    if not folder.is_dir():
        yield f"{folder} is not there; the gateway makes it at its start, if it may"
        return
    if (free := shutil.disk_usage(folder).free) < LEAST_FREE:
        yield f"only {free / 1e6:,.0f} MB are free in {folder}; free some, or lower gateway.spool.max_size"
    content = secrets.token_bytes(4096)
    file = folder / f"{factory.gateway.id}.self-test.{os.getpid()}"
    try:
        began = time.monotonic()
        with file.open("xb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        seconds = time.monotonic() - began
        if file.read_bytes() != content:
            yield f"{folder}: the disk returns other bytes than were written; replace it"
    except OSError as error:
        yield f"{folder}: the disk refuses a small file: {error.strerror}"
    else:
        if seconds > SLOW_SYNC:
            yield f"{folder}: a small file took {seconds:.1f} s to be on the disk; look at the disk (dmesg)"
    finally:
        with suppress(OSError):
            file.unlink(missing_ok=True)


def check_storage(factory: Factory) -> Iterator[str]:
    """Find folders that are not on encrypted storage, and swap space in the clear, where the configuration asks."""
    if factory.storage.encrypted is Encrypted.REPORTED:
        return
    yield from (one.problem for one in storage_of(factory) if one.problem)
    swap = verdict_of_swap()
    if not swap.protected:
        yield (
            f"memory can reach a disk that is not known to be encrypted: {swap.device}, {swap.why}; encrypt the swap "
            "space, turn it off, or set MemorySwapMax=0 in the unit of the service"
        )


def check_clock(factory: Factory) -> Iterator[str]:
    """Find a clock that was never set, was set back, or is not synchronised where it has to be."""
    now = time.time()
    if now < RELEASED:
        yield f"the clock says {time.strftime('%Y-%m-%d', time.gmtime(now))}; synchronise it"
    newest = 0.0
    for folder in dict.fromkeys((factory.gateway.spool.folder, factory.ingest.folder)):
        with suppress(OSError):
            newest = max([newest, *(file.stat().st_mtime for file in folder.iterdir())])
    if newest > now + AHEAD:
        yield f"files of the services are {(newest - now) / 86_400:,.0f} days newer than the clock; check the clock"
    found = kernel_clock()
    required = factory.gateway.clock is ClockTrust.REQUIRE_SYNC
    if found is None:
        if required:
            yield "the kernel can't be asked whether the clock is synchronised, and gateway.clock is require_sync"
    elif found.problem:
        yield f"{found.problem}; gateway.clock is require_sync" if required else Warned(found.problem)


def check_audit(factory: Factory) -> Iterator[str]:
    """Find an audit log whose end was changed or cut off. `lineside audit verify` checks all of it."""
    for folder in _audit_folders(factory):
        option = "" if folder == factory.dashboard.audit.folder else " --ingest"
        yield from _problems_of_log(folder, f"look at it: lineside audit verify {factory.file}{option}")


def _problems_of_log(folder: Path, hint: str) -> Iterator[str]:
    try:
        files = log_files(folder)
        if not files:
            return
        head, keys = read_head(folder), public_keys(folder)
        last = _last_entry(files[-1])
    except (UnreadableHead, UnusableKey, Malformed) as error:
        yield f"{error}; {hint}"
        return
    if head is None:
        yield f"{folder}: the head is missing, so entries may be missing; {hint}"
    elif last is not None and (head.n, head.hash) != last and head.n >= last[0]:
        yield f"{folder}: entries at the end are missing or were changed: the head names entry {head.n}; {hint}"
    elif (key := keys.get(head.key)) is None or not is_signed(key, HEAD, head.hash, head.signature):
        yield f"{folder}: the signature of the head is wrong; {hint}"


def _last_entry(file: Path) -> tuple[int, str] | None:
    """Return number and hash of the last entry; the chain of the last entries is checked. Raises `Malformed`."""
    with file.open("rb") as opened:
        size = opened.seek(0, os.SEEK_END)
        opened.seek(max(0, size - TAIL))
        content = opened.read(TAIL)
    lines = content.splitlines(keepends=True)
    if size > TAIL:
        del lines[:1]  # its begin is missing
    n, previous = 0, ""
    for line in lines:
        try:
            entry = parse_line(line)
        except Malformed as error:
            raise Malformed(f"{file}: behind entry {n}: {error}") from None
        if n and (entry["n"] != n + 1 or entry["previous"] != previous):
            raise Malformed(f"{file}: entry {entry['n']} does not continue the chain")
        n, previous = entry["n"], entry["hash"]
    return (n, previous) if n else None


def check_spool(factory: Factory) -> Iterator[str]:
    """Find a spool that is damaged or can't be read."""
    own = factory.gateway
    for files in spools_of(own.spool.folder, own.id):
        if not files.db.exists():
            continue
        try:
            found = inspect(files)
            if found.damage:
                yield f"{files.db} is damaged: {found.damage}; the gateway repairs it"
            elif files.db.stat().st_size <= LARGEST_CHECKED:
                yield from _damaged_pages(files.db)
        except NotReadable as error:
            yield str(error)


def _damaged_pages(file: Path) -> Iterator[str]:
    try:
        with open_read_only(file) as db:
            said = [str(row[0]) for row in db.execute("pragma quick_check(1)")]
    except sqlite3.Error as error:
        if not is_damage(error):
            return  # it is locked for a moment, or replaced
        said = [str(error)]
    if said != ["ok"]:
        yield f"{file} is damaged: {said[0] if said else 'it can not be checked'}; the gateway repairs it"


def check_software(_factory: Factory) -> Iterator[str]:
    """Find installed files that were changed, removed or added since the release was built."""
    from gateway.software.installation import NotInstalled, installation  # noqa: PLC0415 - of this check alone
    from gateway.software.integrity import software_problems, statement  # noqa: PLC0415 - as above
    from gateway.software.manifest import BadManifest  # noqa: PLC0415 - as above
    from gateway.software.release_keys import UnusableKeys, release_keys  # noqa: PLC0415 - as above

    try:
        installed, keys = installation(), release_keys(read_policy())
    except NotInstalled:
        raise NotApplicable("a source tree: nobody has listed its files") from None
    except (BadManifest, UnusableKeys) as error:
        yield f"{error}; install the release again"
        return
    yield from software_problems(installed, keys)
    yield Note(statement(installed, keys))


CHECKS: dict[str, Check] = {
    "permissions": check_permissions,
    "certificates": check_certificates,
    "keys": check_keys,
    "connections": check_connections,
    "disk": check_disk,
    "storage": check_storage,
    "clock": check_clock,
    "audit": check_audit,
    "spool": check_spool,
    "software": check_software,
}
"""All checks by name. Another check, such as that of a signature of the configuration, is one line here."""


OF_ALL_SERVICES = ("software",)
"""The checks that ingest and the page make, too: they may be on a box without a gateway."""


def run_checks(factory: Factory, checks: dict[str, Check] | None = None) -> Report:
    """Run all checks; whatever one raises, the others run, and it counts as not checked."""
    began, now = time.monotonic(), time.time_ns() // 1000
    outcomes = [_outcome(name, check, factory) for name, check in (CHECKS if checks is None else checks).items()]
    return Report(time=now, seconds=round(time.monotonic() - began, 3), outcomes=tuple(outcomes))


def _outcome(name: str, check: Check, factory: Factory) -> Outcome:
    try:
        found = list(check(factory))
    except NotApplicable as error:
        return Outcome(check=name, result=Result.NOT_CHECKED, notes=(str(error)[:2_000],))
    except Exception as error:  # noqa: BLE001 - the other checks are wanted
        text = f"could not be checked: {type(error).__name__}: {error}"[:2_000]
        return Outcome(check=name, result=Result.NOT_CHECKED, problems=(text,))
    problems = _shown([one for one in found if not isinstance(one, (Note, Warned))])
    return Outcome(
        check=name,
        result=Result.FAILED if problems else Result.PASSED,
        problems=problems,
        warnings=_shown([one for one in found if isinstance(one, Warned)]),
        notes=tuple(str(one)[:2_000] for one in found if isinstance(one, Note))[:MOST_PROBLEMS],
    )


def _shown(findings: list[str]) -> tuple[str, ...]:
    shown = [str(one)[:2_000] for one in findings[:MOST_PROBLEMS]]
    if len(findings) > MOST_PROBLEMS:
        shown.append(f"and {len(findings) - MOST_PROBLEMS:,} more")
    return tuple(shown)
