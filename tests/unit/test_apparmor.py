"""The AppArmor profile: it is one that the parser accepts, and it lets services write where their units do."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from processes import need

PROFILE = Path(__file__).parents[2] / "deploy" / "apparmor" / "lineside-services"

SERIAL = {f"/dev/tty{kind}[0-9]*" for kind in ("S", "USB", "ACM")}

WRITABLE = {"/var/lib/lineside/**", "/tmp/**", "/run/systemd/notify", *SERIAL}  # noqa: S108 - of the profile
"""The state folder, the private folder for temporary files, serial lines, and the socket of the service manager."""


def test_the_parser_accepts_the_profile() -> None:
    """It is compiled for a kernel, and not loaded: this needs no AppArmor in the kernel of the test."""
    line = [need("apparmor_parser"), "--skip-kernel-load", "--skip-cache", "--warn=all", str(PROFILE)]
    ran = subprocess.run(line, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_services_write_and_execute_nothing_else() -> None:
    """Code of an intruder has no place to stay in, and no program of the system to run."""
    text = PROFILE.read_text(encoding="utf-8")
    rules = re.findall(r"^  (owner |deny )?(/\S+) ([a-z]+),$", text, re.MULTILINE)
    assert len(rules) > 20
    allowed = [(path, rights) for kind, path, rights in rules if kind != "deny "]
    assert {path for path, rights in allowed if set(rights) & set("wal")} == WRITABLE
    executable = {path for path, rights in allowed if "x" in rights}
    assert executable == {"/opt/lineside{,-*}/bin/*", "/usr/bin/python3*", "/usr/bin/{dash,dirname,readlink}"}
    assert not executable & WRITABLE
    assert ("deny ", "/etc/lineside/secrets/**", "rw") in rules
    assert "capability" not in re.sub(r"#.*", "", text)
