"""An archive for a ticket, for a person who helps and does not see the box. No secret is in it.

Each part may fail alone: the manifest says which parts are there, and why others are not.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import time
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache, partial
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from gateway import __version__
from gateway.acquisition.link_load import link_loads
from gateway.common.text import printable
from gateway.settings.serialize import dump, written_factory, written_machine
from gateway.status.box import read_box
from gateway.status.box_text import box_text
from gateway.status.configuration_warnings import configuration_warnings
from gateway.status.host import (
    clock_report,
    disk_report,
    library_versions,
    memory_report,
    storage_report,
    system_report,
)
from gateway.status.scrub import remember_secrets, scrub

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gateway.settings.factory import Factory
    from gateway.settings.problems import Problem
    from gateway.status.box import BoxStatus

LOG_LINES = 5_000
"""Lines of the log, the last."""

MAX_PART = 8 * 2**20
"""Bytes of one part; of a longer log the end is kept, of others the beginning."""

UNITS = "lineside*"
"""The systemd units whose journal is read."""

COMMAND_SECONDS = 20.0
"""Seconds for journalctl."""

HTTP_SECONDS = 5.0
"""Seconds for an endpoint of metrics."""

MODE = 0o600
"""The rights of the archive: it names machines, addresses and users."""


class NotAvailable(Exception):
    """A part of the archive can't be had; the text gives the reason."""


class Part(NamedTuple):
    """A part of the archive: the name of its file, its meaning, and the function that returns its text.

    The function may raise `NotAvailable`, and `OSError`.
    """

    name: str
    meaning: str
    read: Callable[[], str]


class Archive(NamedTuple):
    """A finished archive: its bytes, and the parts that could not be had, with the reasons."""

    content: bytes
    missing: dict[str, str]


def make_archive(
    factory: Factory | None, problems: Sequence[Problem], log_files: Sequence[Path], name: str
) -> Archive:
    """Return an archive about the services of a configuration, all in a folder with this name.

    Without `factory` the configuration has errors, which are `problems`. `log_files` are read instead of the journal.
    """
    remember_secrets(factory)
    return pack(_parts(factory, problems, log_files), name)


def _parts(factory: Factory | None, problems: Sequence[Problem], log_files: Sequence[Path]) -> list[Part]:
    parts = [
        Part("system.json", "system, memory, clock, versions of Lineside, Python and libraries", _system),
        Part("problems.txt", "errors and warnings of the configuration", partial(_problems, factory, problems)),
    ]
    if factory is not None:
        box = cache(partial(read_box, factory))
        parts += [
            Part("configuration.yaml", "the configuration, expanded; secrets by name", partial(_expanded, factory)),
            Part("files.json", "the files of the configuration, with their digests", partial(_files, factory)),
            Part("status.json", "lineside status, for programs", lambda: _json(box().report)),
            Part("status.txt", "lineside status, as text", lambda: box_text(box())),
            Part("ledger.json", "what became of every reading", lambda: _ledger(box())),
            Part("plan.json", "the requests to each device, and the load of connections", partial(_plan, factory)),
            Part("disk.json", "the folders of the services, their files and disks", partial(_folders, factory)),
            Part("storage.json", "whether the folders of the services are encrypted", partial(_storage, factory)),
            Part("metrics-gateway.txt", "the metrics of the gateway", partial(_metrics, factory.gateway)),
            Part("metrics-ingest.txt", "the metrics of ingest", partial(_metrics, factory.ingest)),
        ]
    if log_files:
        parts += [
            Part(f"log-{number}.txt", f"the end of {log}", partial(read_log_file, log))
            for number, log in enumerate(log_files, 1)
        ]
    else:
        parts.append(Part("log.txt", f"the end of the journal of the units {UNITS}", read_journal))
    return parts


def pack(parts: Sequence[Part], name: str) -> Archive:
    """Return an archive of parts in a folder with this name; a part that fails is named in the manifest."""
    missing: dict[str, str] = {}
    made: list[tuple[Part, bytes]] = []
    for part in parts:
        try:
            text = part.read()
        except NotAvailable as error:
            missing[part.name] = scrub(str(error))
        except Exception as error:  # noqa: BLE001 - whatever is broken on this box, the other parts are wanted
            missing[part.name] = scrub(f"{type(error).__name__}: {error}")
        else:
            made.append((part, scrub(text).encode("utf-8", "backslashreplace")))
    manifest = {
        "made_by": f"lineside {__version__}",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "parts": [{"name": part.name, "meaning": part.meaning, "bytes": len(data)} for part, data in made],
        "missing": [
            {"name": part.name, "meaning": part.meaning, "reason": missing[part.name]}
            for part in parts
            if part.name in missing
        ],
        "secrets": "replaced by [secret]: values of secrets, passwords in URLs and headers; user names are not",
    }
    files = [("manifest.json", _json(manifest).encode()), *((part.name, data) for part, data in made)]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for file, data in files:
            entry = tarfile.TarInfo(f"{name}/{file}")
            entry.size, entry.mtime, entry.mode = len(data), int(time.time()), MODE
            archive.addfile(entry, io.BytesIO(data))
    return Archive(buffer.getvalue(), missing)


def write_archive(file: Path, content: bytes) -> None:
    """Write an archive, readable by its owner alone; replaces a file of that name. Raises `OSError`."""
    new = file.with_name(f"{file.name}.new")
    with suppress(FileNotFoundError):
        new.unlink()
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(content)
    new.replace(file)


# -- the parts --


def _json(data: object) -> str:
    return orjson.dumps(data, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=str).decode()


def _system() -> str:
    return _json(
        {
            "system": system_report(),
            "memory": memory_report(),
            "clock": clock_report(),
            "libraries": library_versions(),
        }
    )


def _problems(factory: Factory | None, problems: Sequence[Problem]) -> str:
    found = [*problems, *(configuration_warnings(factory) if factory is not None else ())]
    return "".join(f"{problem}\n" for problem in found) or "no errors and no warnings\n"


def _expanded(factory: Factory) -> str:
    return dump(written_factory(factory) | {"machines": [written_machine(one) for one in factory.machines]})


def _files(factory: Factory) -> str:
    files = {str(name): digest for name, digest in factory.files.items()}
    return _json({"config": factory.digest, "files": files})


def _ledger(box: BoxStatus) -> str:
    if box.report["ledger"] is None:
        raise NotAvailable("this box has no spool of the gateway")
    return _json(box.report["ledger"])


def _plan(factory: Factory) -> str:
    return _json(
        [
            {
                "connection": str(link.connection),
                "load": round(link.load, 4),
                "bytes_per_second": round(link.bytes_per_second),
                "verdict": link.verdict,
                "groups": [
                    {
                        "machine": group.machine,
                        "points": len(group.names),
                        "every": group.every,
                        "pushed": group.pushed,
                        "requests": cost.requests,
                        "bytes": cost.bytes,
                        "seconds": cost.seconds,
                    }
                    for group, cost in link.costs
                ],
            }
            for link in link_loads(factory.machines)
        ]
    )


def _folders(factory: Factory) -> str:
    folders = dict.fromkeys((factory.gateway.spool.folder, factory.ingest.folder))
    return _json([{"folder": str(one), "disk": disk_report(one), "files": _listed(one)} for one in folders])


def _storage(factory: Factory) -> str:
    return _json(storage_report(factory))


def _listed(folder: Path) -> list[dict[str, Any]]:
    found = []
    with suppress(OSError):
        for file in sorted(folder.iterdir())[:MAX_LISTED]:
            with suppress(OSError):
                stat = file.stat()
                changed = datetime.fromtimestamp(stat.st_mtime, UTC).isoformat(timespec="seconds")
                found.append(
                    {"name": printable(file.name), "size": stat.st_size, "changed": changed,
                     "mode": oct(stat.st_mode), "user": stat.st_uid, "group": stat.st_gid}
                )  # fmt: skip
    return found


MAX_LISTED = 1_000
"""Files of one folder that are listed."""


def read_journal() -> str:
    """Return the last lines of the journal of all units of Lineside. Raises `NotAvailable`."""
    program = shutil.which("journalctl")
    if program is None:
        raise NotAvailable("journalctl is not installed: name the file of the log with --log-file")
    command = [program, "--unit", UNITS, "--lines", str(LOG_LINES), "--no-pager", "--quiet", "--output", "cat"]
    try:
        ran = subprocess.run(  # noqa: S603 - fixed arguments
            command, capture_output=True, timeout=COMMAND_SECONDS, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise NotAvailable(f"journalctl gave no answer within {COMMAND_SECONDS:g} s") from None
    if ran.returncode or not ran.stdout.strip():
        said = ran.stderr.decode("utf-8", "replace").strip()
        raise NotAvailable(said or f"the journal has no lines of the units {UNITS}, or this user may not read them")
    return _end(ran.stdout)


def read_log_file(log: Path) -> str:
    """Return the last lines of a file. Raises `OSError`."""
    with log.open("rb") as opened:
        size = opened.seek(0, os.SEEK_END)
        opened.seek(max(0, size - MAX_PART))
        return _end(opened.read(MAX_PART))


def _end(log: bytes) -> str:
    lines = log[-MAX_PART:].decode("utf-8", "replace").splitlines(keepends=True)
    return "".join(lines[-LOG_LINES:])


def _listens(section: object) -> str | None:
    """Return the address of the metrics of a section, as `127.0.0.1:9464`; None if it has none."""
    listen = getattr(getattr(section, "metrics", None), "listen", None)
    return None if listen is None else str(listen)


_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - nothing listens here
"""Addresses on which a service listens for all, and where it is reached on its own box."""


def _metrics(section: object) -> str:
    address = _listens(section)
    if address is None:
        raise NotAvailable("the configuration has no endpoint for metrics")
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    connection = HTTPConnection(_ANY.get(host, host), int(port), timeout=HTTP_SECONDS)
    try:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        body = response.read(MAX_PART)
    except (OSError, HTTPException) as error:
        raise NotAvailable(f"http://{address}/metrics does not answer: {error}") from None
    finally:
        connection.close()
    if response.status != 200:  # noqa: PLR2004 - OK (RFC 9110, 15.3.1)
        raise NotAvailable(f"http://{address}/metrics answers {response.status} {response.reason}")
    return body.decode("utf-8", "replace")
