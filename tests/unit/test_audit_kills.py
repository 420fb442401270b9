"""A process that writes an audit log and is killed loses no entry whose commit has returned."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from gateway.audit.files import log_files
from gateway.audit.log import AuditLog
from gateway.audit.verify import verify
from gateway.settings.audit_section import AuditSection

if TYPE_CHECKING:
    from pathlib import Path

WRITER = """
import sys
from gateway.audit.log import AuditLog
from gateway.settings.audit_section import AuditSection

with AuditLog(AuditSection.model_validate({"folder": sys.argv[1]})) as audit:
    number = 0
    while True:
        ours = [audit.record("a", who="anna", object=str(number + at)) for at in range(5)]
        number += 5
        print("durable", ours[-1].result(60), flush=True)
"""


def durable_of(lines: list[str]) -> list[int]:
    """Return the numbers that the process has printed; the line of a kill may be cut off."""
    return [int(line.split()[1]) for line in lines if line.startswith("durable ") and line.endswith("\n")]


def test_entries_that_were_durable_survive_kills(tmp_path: Path) -> None:
    """SIGKILL at any moment, several times on one log; each start repairs a line that the kill before has torn."""
    for after in (1, 3, 7):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        lines: list[str] = []
        while len(durable_of(lines)) < after:
            lines.append(process.stdout.readline())
        process.kill()
        durable = durable_of([*lines, *process.stdout])[-1]
        process.stdout.close()
        process.wait()
        with AuditLog(AuditSection.model_validate({"folder": str(tmp_path)})) as audit:
            audit.record("b", who="ben").result(60)
        entries = [json.loads(line) for file in log_files(tmp_path) for line in file.read_bytes().splitlines()]
        assert [entry["n"] for entry in entries] == list(range(1, len(entries) + 1))
        assert entries[durable - 1]["action"] == "a"
        found = verify(tmp_path)
        assert found.broken is None, found.broken
