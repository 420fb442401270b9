"""ZFS encrypts by dataset, above its devices: its tool is asked, here a program with its output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.storage.folder import verdict_of_folder
from gateway.storage.verdict import State, System

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("script", "state"),
    [
        ("#!/bin/sh\necho aes-256-gcm\n", State.ENCRYPTED), ("#!/bin/sh\necho off\n", State.NOT_ENCRYPTED),
        ("#!/bin/sh\nexit 1\n", State.UNKNOWN), ("", State.UNKNOWN),
    ],
)  # fmt: skip
def test_a_dataset_of_zfs_is_asked_for_with_its_tool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, state: State
) -> None:
    """Its pool is on devices that say nothing of the encryption of a dataset."""
    mounts = tmp_path / "proc" / "self" / "mountinfo"
    mounts.parent.mkdir(parents=True)
    mounts.write_text(f"1 0 0:41 / {tmp_path} rw - zfs tank/lineside rw\n")
    tools = tmp_path / "tools"
    tools.mkdir()
    if script:
        (tools / "zfs").write_text(script)
        (tools / "zfs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/bin:/usr/bin" if script else str(tools))
    assert verdict_of_folder(tmp_path, (), System(str(tmp_path / "proc"), str(tmp_path / "sys"))).state is state
