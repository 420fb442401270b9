"""Whether storage is encrypted is found out from the kernel's own texts: here from trees as the kernel makes them."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import struct
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from processes import write_factory
from structlog.testing import capture_logs

from gateway.cli import main
from gateway.metrics.samples import Samples
from gateway.metrics.storage_watch import StorageWatch
from gateway.self_test.checks import run_checks
from gateway.settings import encrypted_storage
from gateway.settings.encrypted_storage import folders_of, storage_problems, storage_warnings
from gateway.settings.load import load_factory
from gateway.settings.problems import ConfigurationError, Severity
from gateway.settings.signature_memory import Service
from gateway.status.box import read_box
from gateway.status.box_text import box_text
from gateway.storage import folder as of_folder
from gateway.storage import fscrypt
from gateway.storage.block_devices import DEEPEST, verdict_of_device
from gateway.storage.folder import verdict_of_folder
from gateway.storage.mounts import mount_of, mounts_in
from gateway.storage.swap import verdict_of_swap
from gateway.storage.verdict import State, System, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class Kernel:
    """Folders in the form of /sys and /proc."""

    def __init__(self, root: Path) -> None:
        self.sys, self.proc = root / "sys", root / "proc"
        (self.proc / "self").mkdir(parents=True)
        for folder in ("dev/block", "class/block", "fs/btrfs"):
            (self.sys / folder).mkdir(parents=True)
        self._devices: dict[str, Path] = {}

    @property
    def system(self) -> System:
        return System(str(self.proc), str(self.sys))

    def device(
        self, name: str, number: str, on: Sequence[str] = (), uuid: str = "", partition_of: str = "", **files: str
    ) -> None:
        """Add a block device, made of the devices `on`."""
        above = self._devices[partition_of] if partition_of else self.sys / "devices"
        folder = above / name
        (folder / "slaves").mkdir(parents=True)
        (folder / "dev").write_text(f"{number}\n")
        if uuid:
            (folder / "dm").mkdir()
            (folder / "dm" / "uuid").write_text(f"{uuid}\n")
            (folder / "dm" / "name").write_text(f"{name}-name\n")
        if partition_of:
            (folder / "slaves").rmdir()
            (folder / "partition").write_text("1\n")
        for key, text in files.items():
            (folder / key).write_text(text)
        for below in on:
            (folder / "slaves" / below).symlink_to(self._devices[below])
        (self.sys / "dev" / "block" / number).symlink_to(folder)
        (self.sys / "class" / "block" / name).symlink_to(folder)
        self._devices[name] = folder

    def mount(self, point: object, kind: str, number: str, source: str) -> None:
        """Add a line to the list of mounts."""
        file = self.proc / "self" / "mountinfo"
        lines = file.read_text() if file.exists() else ""
        file.write_text(f"{lines}36 35 {number} / {point} rw,noatime shared:1 master:2 - {kind} {source} rw\n")

    def disk(self) -> None:
        """Add a disk with a partition: `sda`, and `sda1` with the number 8:1."""
        self.device("sda", "8:0")
        self.device("sda1", "8:1", partition_of="sda")


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path / "kernel")


def state_of(kernel: Kernel, number: str) -> State:
    return verdict_of_device(number, str(kernel.sys)).state


LUKS = "CRYPT-LUKS2-0f3c1d2e4b5a69788796a5b4c3d2e1f0-crypt"


def test_a_partition_of_a_disk_is_not_encrypted(kernel: Kernel) -> None:
    """The usual installation of a distribution."""
    kernel.disk()
    found = verdict_of_device("8:1", str(kernel.sys))
    assert (found.state, found.device) == (State.NOT_ENCRYPTED, "sda")


@pytest.mark.parametrize("uuid", [LUKS, LUKS.replace("LUKS2", "LUKS1"), "CRYPT-PLAIN-swap", "CRYPT-BITLK-1-c"])
def test_dm_crypt_is_encrypted(kernel: Kernel, uuid: str) -> None:
    """All kinds of cryptsetup that have a key."""
    kernel.disk()
    kernel.device("dm-0", "253:0", ["sda1"], uuid)
    found = verdict_of_device("253:0", str(kernel.sys))
    assert (found.state, found.device) == (State.ENCRYPTED, "dm-0")


@pytest.mark.parametrize("uuid", ["LVM-abc", "CRYPT-VERITY-abc-root", "CRYPT-INTEGRITY-abc", "CRYPTO-abc", "mpath-1"])
def test_other_kinds_of_the_device_mapper_are_not(kernel: Kernel, uuid: str) -> None:
    """LVM encrypts nothing; verity and integrity find changes, and hide nothing."""
    kernel.disk()
    kernel.device("dm-0", "253:0", ["sda1"], uuid)
    assert state_of(kernel, "253:0") is State.NOT_ENCRYPTED


def test_lvm_on_luks_and_raid_on_luks_are_encrypted(kernel: Kernel) -> None:
    """The encryption may be anywhere below the file system."""
    kernel.disk()
    kernel.device("sdb", "8:16")
    kernel.device("dm-0", "253:0", ["sda1"], LUKS)
    kernel.device("dm-1", "253:1", ["sdb"], LUKS)
    kernel.device("md0", "9:0", ["dm-0", "dm-1"])
    kernel.device("md0p1", "259:0", partition_of="md0")
    kernel.device("dm-2", "253:2", ["md0"], "LVM-abc")
    assert state_of(kernel, "9:0") is State.ENCRYPTED
    assert state_of(kernel, "259:0") is State.ENCRYPTED
    assert state_of(kernel, "253:2") is State.ENCRYPTED


def test_a_raid_with_one_plain_disk_is_not_encrypted(kernel: Kernel) -> None:
    """A thief of that disk has all of a mirror, and a part of the rest."""
    kernel.disk()
    kernel.device("sdb", "8:16")
    kernel.device("dm-0", "253:0", ["sda1"], LUKS)
    kernel.device("md0", "9:0", ["dm-0", "sdb"])
    found = verdict_of_device("9:0", str(kernel.sys))
    assert (found.state, found.device) == (State.NOT_ENCRYPTED, "sdb")


def test_storage_that_is_elsewhere_or_not_known_is_unknown(kernel: Kernel) -> None:
    """Only a fact counts: not a guess in either direction."""
    kernel.device("nbd0", "43:0")
    kernel.device("zram0", "252:0", backing_dev="none\n")
    kernel.device("zram1", "252:1", backing_dev="/dev/sda2\n")
    kernel.device("loop0", "7:0")
    (kernel.sys / "devices" / "loop0" / "loop").mkdir()
    (kernel.sys / "devices" / "loop0" / "loop" / "backing_file").write_text("/srv/disk.img\n")
    assert [state_of(kernel, one) for one in ("43:0", "252:0", "252:1", "7:0", "99:9")] == [
        State.UNKNOWN, State.MEMORY, State.UNKNOWN, State.UNKNOWN, State.UNKNOWN,
    ]  # fmt: skip


def test_devices_that_are_made_of_each_other_end(kernel: Kernel) -> None:
    """A tree without end must not stop a start."""
    kernel.device("dm-0", "253:0")
    (kernel.sys / "devices" / "dm-0" / "slaves" / "dm-0").symlink_to(kernel.sys / "devices" / "dm-0")
    found = verdict_of_device("253:0", str(kernel.sys))
    assert found.state is State.UNKNOWN
    assert str(DEEPEST) in found.why


def test_the_deepest_and_newest_mount_has_a_path() -> None:
    """A later mount at the same place hides the earlier one; names have escapes."""
    text = (
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "2 1 8:2 / /var rw shared:1 - xfs /dev/sda2 rw\n"
        "3 1 8:3 / /var/my\\040data rw - ext4 /dev/sda3 rw\n"
        "4 1 8:4 / /var rw - xfs /dev/sda4 rw\n"
        "no mount at all\n"
    )
    assert len(list(mounts_in(text))) == 4
    devices = {path: mount_of(path, text) for path in ("/etc", "/var/lib", "/var/my data/x", "/various")}
    assert {path: one and one.device for path, one in devices.items()} == {
        "/etc": "8:1", "/var/lib": "8:4", "/var/my data/x": "8:3", "/various": "8:1",
    }  # fmt: skip
    assert mount_of("/etc", "") is None


@pytest.mark.parametrize(
    ("kind", "number", "state"),
    [
        ("ext4", "253:0", State.ENCRYPTED), ("ext4", "8:1", State.NOT_ENCRYPTED), ("tmpfs", "0:31", State.MEMORY),
        ("overlay", "0:52", State.UNKNOWN), ("nfs4", "0:60", State.UNKNOWN), ("ecryptfs", "0:61", State.ENCRYPTED),
        ("fuse.gocryptfs", "0:62", State.ENCRYPTED), ("fuse.sshfs", "0:63", State.UNKNOWN),
        ("another", "0:64", State.UNKNOWN),
    ],
)  # fmt: skip
def test_the_type_of_a_file_system_decides_or_its_device(
    kernel: Kernel, tmp_path: Path, kind: str, number: str, state: State
) -> None:
    """A folder that is not there yet is judged by the folder above it."""
    kernel.disk()
    kernel.device("dm-0", "253:0", ["sda1"], LUKS)
    kernel.mount("/", "ext4", "8:1", "/dev/sda1")
    kernel.mount(tmp_path, kind, number, "source")
    assert verdict_of_folder(tmp_path / "not" / "there", (), kernel.system).state is state


def test_a_mount_that_this_user_can_not_look_into_is_found(kernel: Kernel, tmp_path: Path) -> None:
    """The list of mounts names it: the disk above it is another."""
    kernel.disk()
    kernel.device("dm-0", "253:0", ["sda1"], LUKS)
    kernel.mount("/", "ext4", "8:1", "/dev/sda1")
    kernel.mount(tmp_path / "closed" / "state", "ext4", "253:0", "/dev/dm-0")
    assert verdict_of_folder(tmp_path / "closed" / "state", (), kernel.system).state is State.ENCRYPTED


def test_texts_of_the_kernel_that_can_not_be_read_are_unknown(kernel: Kernel, tmp_path: Path) -> None:
    """A box without /proc, or with other texts there, must not end a command."""
    assert verdict_of_folder(tmp_path, (), kernel.system).state is State.UNKNOWN
    (kernel.sys / "fs" / "btrfs" / "uuid" / "devices").parent.mkdir()
    (kernel.sys / "fs" / "btrfs" / "uuid" / "devices").write_text("no folder")
    kernel.mount(tmp_path, "btrfs", "0:40", "/dev/sda1")
    assert verdict_of_folder(tmp_path, (), kernel.system).state is State.UNKNOWN


def test_a_btrfs_is_as_good_as_the_worst_of_its_devices(kernel: Kernel, tmp_path: Path) -> None:
    """Its number is its own, and leads to no device."""
    kernel.disk()
    kernel.device("dm-7", "253:7", ["sda1"], LUKS)
    kernel.device("sdc", "8:32")
    kernel.mount(tmp_path, "btrfs", "0:40", "/dev/mapper/dm-7-name")
    devices = kernel.sys / "fs" / "btrfs" / "uuid" / "devices"
    devices.mkdir(parents=True)
    (devices / "dm-7").touch()
    assert verdict_of_folder(tmp_path, (), kernel.system).state is State.ENCRYPTED
    (devices / "sdc").touch()
    assert verdict_of_folder(tmp_path, (), kernel.system).state is State.NOT_ENCRYPTED


def test_no_option_is_given_to_a_tool(kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The source of a mount is a text of the person who has mounted it."""
    kernel.mount(tmp_path, "zfs", "0:41", "--help")
    monkeypatch.setattr(of_folder.subprocess, "run", lambda *_args, **_more: pytest.fail("a tool was run"))
    assert verdict_of_folder(tmp_path, (), kernel.system).state is State.UNKNOWN


def test_a_policy_of_fscrypt_is_encryption(kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel answers for a folder, whatever is below it."""
    kernel.disk()
    kernel.mount(tmp_path, "ext4", "8:1", "/dev/sda1")
    asked: list[tuple[int, int]] = []

    def ioctl(_descriptor: int, request: int, argument: bytearray) -> int:
        asked.append((request, *struct.unpack_from("=Q", argument)))
        return 0

    monkeypatch.setattr(fscrypt.fcntl, "ioctl", ioctl)
    assert verdict_of_folder(tmp_path, (), kernel.system) == (State.ENCRYPTED, str(tmp_path), "fscrypt")
    assert asked == [(0xC0096616, 24)]

    def refused(*_: object) -> int:
        raise OSError(errno.ENODATA, "no policy")

    monkeypatch.setattr(fcntl, "ioctl", refused)
    assert verdict_of_folder(tmp_path, (), kernel.system).state is State.NOT_ENCRYPTED


def test_the_kernel_of_this_machine_is_asked_without_a_fault(tmp_path: Path) -> None:
    """The real ioctl, the real list of mounts, the real swap spaces."""
    assert verdict_of_folder(tmp_path).state in State
    assert verdict_of_swap().state in State


def test_a_folder_that_the_plant_encrypts_counts_as_stated(kernel: Kernel, tmp_path: Path) -> None:
    """A self-encrypting drive looks like any other; a link leads to the same folder."""
    kernel.disk()
    kernel.mount(tmp_path, "ext4", "8:1", "/dev/sda1")
    (tmp_path / "state").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "state")
    for stated, state in ((tmp_path, State.STATED), (tmp_path / "link", State.STATED), (tmp_path / "s", None)):
        found = verdict_of_folder(tmp_path / "state", (stated,), kernel.system).state
        assert found is (state or State.NOT_ENCRYPTED)


def swaps(kernel: Kernel, *lines: str) -> State:
    (kernel.proc / "swaps").write_text("\n".join(("Filename Type Size Used Priority", *lines, "")))
    return verdict_of_swap(kernel.system).state


def test_swap_space_counts_as_the_worst_of_it(kernel: Kernel, tmp_path: Path) -> None:
    """Keys and readings are in the memory that goes there."""
    kernel.disk()
    kernel.device("dm-1", "253:1", ["sda1"], "CRYPT-PLAIN-swap")
    kernel.device("zram0", "252:0")
    kernel.mount(tmp_path, "ext4", "8:1", "/dev/sda1")
    assert verdict_of_swap(kernel.system).state is State.UNKNOWN
    assert swaps(kernel) is State.MEMORY
    assert swaps(kernel, "/dev/dm-1 partition 9 0 -2") is State.ENCRYPTED
    assert swaps(kernel, "/dev/zram0 partition 9 0 100") is State.MEMORY
    assert swaps(kernel, "/dev/dm-1 partition 9 0 -2", "/dev/sda1 partition 9 0 -3") is State.NOT_ENCRYPTED
    assert swaps(kernel, f"{tmp_path}/swap\\040file file 9 0 -2") is State.NOT_ENCRYPTED


@pytest.mark.parametrize(
    ("limits", "state"),
    [({"system.slice/lineside.service": "0"}, State.MEMORY), ({"system.slice": "0"}, State.MEMORY),
     ({"system.slice/lineside.service": "max"}, State.NOT_ENCRYPTED), ({}, State.NOT_ENCRYPTED)],
)  # fmt: skip
def test_a_service_that_is_never_swapped_needs_no_encrypted_swap(
    kernel: Kernel, limits: Mapping[str, str], state: State
) -> None:
    """MemorySwapMax=0 of its unit is a limit of its control group."""
    kernel.disk()
    (kernel.proc / "self" / "cgroup").write_text("0::/system.slice/lineside.service\n")
    for group, limit in limits.items():
        (kernel.sys / "fs" / "cgroup" / group).mkdir(parents=True, exist_ok=True)
        (kernel.sys / "fs" / "cgroup" / group / "memory.swap.max").write_text(f"{limit}\n")
    assert swaps(kernel, "/dev/sda1 partition 9 0 -3") is state


# -- the configuration --


def write(folder: Path, encrypted: str, **more: Any) -> Path:
    """Write a configuration whose state is in a folder of proc(5), of which no machine knows a block device."""
    return write_factory(
        folder / "factory.yaml",
        gateway={"id": "edge-01", "spool": {"folder": "/proc/lineside"}},
        broker={"url": "mqtt://localhost:1"},
        ingest={"folder": str(folder / "ingest")},
        stores=[{"sqlite": {"path": str(folder / "store" / "readings.db")}}],
        storage={"encrypted": encrypted} | more,
        lines={
            "line": {
                "area": "area",
                "machines": {"m-01": {"template": "curing-press", "connection": "modbus+tcp://127.0.0.1:1"}},
            }
        },
    )


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """All storage is without encryption."""
    found = Verdict(State.NOT_ENCRYPTED, "sda", "no device of the chain is dm-crypt")
    monkeypatch.setattr(encrypted_storage, "verdict_of_folder", lambda *_: found)


@pytest.mark.parametrize("command", ["run", "dashboard"])
def test_a_service_does_not_start_where_encryption_is_required(tmp_path: Path, command: str) -> None:
    """One line names the folder, the device and the remedy."""
    file = write(tmp_path, "required")
    done = CliRunner().invoke(main, [command, str(file)])
    assert done.exit_code == 1
    line = next(one for one in done.stderr.splitlines() if "/proc/lineside" in one)
    assert line.startswith(f"{file}:")
    for part in ("storage.encrypted: required", "may not be encrypted: proc", "storage.encrypted_by_plant"):
        assert part in line


@pytest.mark.usefixtures("plain")
def test_each_service_judges_its_own_folders(tmp_path: Path) -> None:
    """Ingest may run on a server with other disks than the gateway."""
    factory = load_factory(write(tmp_path, "required"))
    names = {service: [one.name for one in folders_of(factory, service)] for service in Service}
    assert names == {
        Service.GATEWAY: ["spool", "audit"], Service.INGEST: ["ingest", "audit", "store"],
        Service.DASHBOARD: ["users", "audit"],
    }  # fmt: skip
    assert len(list(storage_problems(factory, Service.INGEST))) == 3
    with pytest.raises(ConfigurationError) as refused:
        load_factory(factory.file, service=Service.INGEST)
    assert [one.path for one in refused.value.problems] == ["storage.encrypted"] * 3


def test_a_folder_of_the_plant_lets_a_service_start(tmp_path: Path) -> None:
    """The statement of a person is the way out where the kernel can't see the encryption."""
    file = write(tmp_path, "required", encrypted_by_plant=["/proc", str(tmp_path)])
    assert list(storage_problems(load_factory(file, service=Service.GATEWAY), Service.GATEWAY)) == []


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize(("encrypted", "found"), [("expected", True), ("required", True), ("reported", False)])
def test_a_self_test_and_a_strict_validation_find_it_where_it_is_expected(
    tmp_path: Path, encrypted: str, *, found: bool
) -> None:
    """A plant that has not asked for it gets no alert by an upgrade; the status shows it in any case."""
    (tmp_path / "ingest").mkdir()
    factory = load_factory(write(tmp_path, encrypted))
    report = {one.check: one for one in run_checks(factory).outcomes}
    assert any("(spool) is not encrypted: sda" in one for one in report["storage"].problems) is found
    warnings = list(storage_warnings(factory))
    assert [one.severity for one in warnings] == [Severity.WARNING] * found
    assert all(f"{tmp_path / 'ingest'} (ingest)" in one.message for one in warnings)
    text = box_text(read_box(factory))
    assert "not encrypted: spool, ingest, audit, store (sda)" in text


def test_a_value_of_another_kind_says_what_is_right(tmp_path: Path) -> None:
    """A relative folder would follow the working folder of the service."""
    for more, part in (({"encrypted_by_plant": ["state"]}, "write one, as in /var/lib/lineside"), ({}, "required")):
        with pytest.raises(ConfigurationError) as refused:
            load_factory(write(tmp_path, "expected" if more else "yes", **more))
        assert part in str(refused.value.problems[0])


@pytest.mark.usefixtures("plain")
async def test_metrics_readiness_and_log_follow_the_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is mounted in the clear while the service runs is found at the next look, and logged once."""
    factory = load_factory(write(tmp_path, "required"))
    watch = StorageWatch(factory, Service.INGEST, every=0.001)
    looks = 0
    enough = asyncio.Event()
    original = encrypted_storage.verdict_of_folder

    def look(*arguments: Any) -> Verdict:
        nonlocal looks
        looks += 1
        if looks > 6:
            enough.set()
        return original(*arguments)

    loop_safe = asyncio.get_running_loop()
    monkeypatch.setattr(enough, "set", lambda: loop_safe.call_soon_threadsafe(asyncio.Event.set, enough))
    monkeypatch.setattr(encrypted_storage, "verdict_of_folder", look)
    assert watch.reason == ""
    with capture_logs() as logs:
        running = asyncio.create_task(watch.run())
        async with asyncio.timeout(10):
            await enough.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert [one["event"] for one in logs] == ["storage.not_encrypted"]
    assert len(logs[0]["problems"]) == 3
    assert watch.reason == "not on encrypted storage: ingest, audit, store"
    samples = Samples()
    watch.add_to(samples)
    assert samples.as_dict()["lineside_storage_encrypted"] == [
        (["ingest"], [0.0]), (["audit"], [0.0]), (["store"], [0.0]),
    ]  # fmt: skip


@pytest.mark.usefixtures("plain")
def test_a_reload_to_storage_without_encryption_is_refused(tmp_path: Path) -> None:
    """A reload loads as a start does: it goes on with the configuration of before."""
    assert not isinstance(load_factory(write(tmp_path, "reported"), service=Service.GATEWAY), ConfigurationError)
    with pytest.raises(ConfigurationError, match="required, and"):
        load_factory(write(tmp_path, "required"), service=Service.GATEWAY)
