"""Users: the file, the passwords, the delays after failures, and the refusals."""

from __future__ import annotations

import asyncio
import itertools
import os
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.settings.dashboard_section import LockoutSection
from gateway.users.authenticator import Authenticator, Reason, Refused
from gateway.users.passwords import AT_ONCE, WAITING, BadPassword, Busy, Passwords, check_password
from gateway.users.roles import DEFAULTS, Identity, Permission, Role
from gateway.users.throttle import LONGEST, FailureTable, Lockout, address_key
from gateway.users.users_file import UnusableUsers, Users, changing, new_user, read_users

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.users.users_file import User

GOOD = "kettle-river-41-piano"

QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""Argon2id that takes no time: the tests are about the code around it."""

HASH = QUICK.hash(GOOD)

USUAL = Lockout()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "users.yaml"
    with changing(file) as users:
        users["anna"] = new_user(Role.OPERATOR, HASH)
        users["ben"] = new_user(Role.VIEWER, HASH).model_copy(update={"disabled": True})
    return file


def authenticator(file: Path, clock: Clock | None = None) -> Authenticator:
    return Authenticator(Users(file), Passwords(QUICK), clock or Clock())


def test_each_role_has_the_rights_of_those_before_it() -> None:
    rights = [DEFAULTS[role] for role in Role]
    assert all(lower < higher for lower, higher in itertools.pairwise(rights))
    assert rights[-1] == frozenset(Permission)


# -- the file --


def test_the_file_is_for_its_owner_alone(file: Path) -> None:
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_users(file)["anna"].role == Role.OPERATOR
    assert HASH not in repr(read_users(file))


def test_a_file_that_others_can_read_is_refused(file: Path) -> None:
    file.chmod(0o640)
    with pytest.raises(UnusableUsers, match="chmod 600"):
        read_users(file)


def test_a_symbolic_link_is_refused(file: Path) -> None:
    """It could name a file of somebody else, that the service can read and the user can't."""
    link = file.with_name("link.yaml")
    link.symlink_to(file)
    with pytest.raises(UnusableUsers, match="is a symbolic link"):
        read_users(link)


def test_a_file_of_another_user_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    if os.getuid() == 0:
        os.chown(file, 1234, -1)
    with pytest.raises(UnusableUsers, match="belongs to user id"):
        read_users(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("users: {}", "format"),
        ("format: 2", "format"),
        ("format: 1\nusers: {anna: {role: Boss!}}", "users.anna.role"),
        ("format: 1\nusers: {anna: {role: admin, password: hunter2, created: '2026-12-01T06:00:00Z'}}", "password"),
        ("format: 1\nusers: {'../a': {}}", "users"),
        ("format: 1\nusers: {a: &a {b: *a}}", "users.yaml:2"),
        ("format: 1\nother: 2", "unknown key 'other'"),
        ("[", "users.yaml:1"),
        ("\0", "users.yaml:1"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(UnusableUsers, match=message) as caught:
        read_users(file)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=200))
def test_any_bytes_are_users_or_are_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.mktemp("users") / "users.yaml"
    file.touch(0o600)
    file.write_bytes(content)
    with suppress(UnusableUsers):
        read_users(file)


def test_a_change_that_fails_writes_nothing(file: Path) -> None:
    before = file.read_bytes()

    def fail(users: dict[str, User]) -> None:
        users.clear()
        raise RuntimeError

    with pytest.raises(RuntimeError), changing(file) as users:
        fail(users)
    assert file.read_bytes() == before


async def test_a_changed_file_is_read_again_and_a_damaged_file_admits_nobody(file: Path) -> None:
    """Fail closed: a user who was removed by an editor that broke the file must not stay."""
    users = Users(file)
    await users.refresh()
    assert users.get("anna") is not None
    with changing(file) as found:
        del found["anna"]
    await users.refresh()
    assert users.get("anna") is None
    assert users.get("ben") is not None
    with structlog.testing.capture_logs() as logs:
        file.write_text("[")
        await users.refresh()
        await users.refresh()
    assert users.get("ben") is None
    assert [entry["event"] for entry in logs] == ["users.unusable"]


# -- passwords --


@pytest.mark.parametrize(
    "password",
    [
        "short-one-4", "a" * 20, "abababababababab", "annaanna1234", "anna-of-2026", "password1234", "12345678901234",
        "qwertyuiopas", "Lineside2026!", "kettle\nriver-41-piano", "x\ud800" + GOOD, "ab1-" * 100,
    ],
)  # fmt: skip
def test_a_weak_password_is_refused(password: str) -> None:
    with pytest.raises(BadPassword) as caught:
        check_password(password, "anna")
    assert password not in str(caught.value)


@pytest.mark.parametrize(
    "password", [GOOD, "wasser-kessel-große-straße", "压力机 温度 传感器 校准 二零二六 年", "anna likes blue kettles"]
)
def test_a_long_password_of_several_words_is_taken(password: str) -> None:
    check_password(password, "anna")


async def test_a_password_is_the_same_in_every_form_of_unicode() -> None:
    """A keyboard sends an umlaut as one character or as two."""
    passwords = Passwords(QUICK)
    hashed = passwords.hash("gro\u0308\u00dfer-kessel-41")
    assert await passwords.matches(hashed, "gr\u00f6\u00dfer-kessel-41")
    assert not await passwords.matches(hashed, "groesser-kessel-41")


async def test_at_most_two_hashes_are_computed_at_once_and_few_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 MiB each: a flood of attempts must not take the memory of the box."""
    passwords = Passwords(QUICK)
    running, most = 0, 0

    def slow(*_: object) -> bool:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.005)
        running -= 1
        return False

    monkeypatch.setattr(passwords, "_matches", slow)
    results = await asyncio.gather(*(passwords.matches(None, "x") for _ in range(40)), return_exceptions=True)
    assert most == AT_ONCE
    assert sum(isinstance(result, Busy) for result in results) == 40 - WAITING


async def test_an_unknown_name_takes_the_same_work(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of an answer must not say which names exist."""
    verified: list[str] = []
    real = PasswordHasher.verify

    def verify(self: PasswordHasher, hashed: str, password: str) -> bool:
        verified.append(hashed.split("$")[3])
        return real(self, hashed, password)

    monkeypatch.setattr(PasswordHasher, "verify", verify)
    subject = authenticator(file)
    for name in ("anna", "nobody", "ben"):
        assert isinstance(await subject.authenticate(name, "wrong", "10.0.0.1"), Refused)
    assert verified == [verified[0]] * 3


# -- sign-in --


async def test_the_right_password_gives_the_role(file: Path) -> None:
    found = await authenticator(file).authenticate("anna", GOOD, "10.0.0.1")
    assert found == Identity("anna", Role.OPERATOR, "password", DEFAULTS[Role.OPERATOR])


async def test_a_disabled_user_is_refused(file: Path) -> None:
    found = await authenticator(file).authenticate("ben", GOOD, "10.0.0.1")
    assert isinstance(found, Refused)
    assert found.reason is Reason.DISABLED


async def test_five_failures_begin_growing_delays(file: Path) -> None:
    """Also the right password has to wait: otherwise the delay would say that it was right."""
    clock = Clock()
    subject = authenticator(file, clock)
    found = [await subject.authenticate("anna", "wrong", f"10.0.0.{at}") for at in range(USUAL.failures)]
    assert [isinstance(one, Refused) and one.locked for one in found] == [False] * 4 + [True]
    refused = await subject.authenticate("anna", GOOD, "10.0.1.1")
    assert refused == Refused(Reason.THROTTLED, 1.0)
    clock.now += 1.0
    assert await subject.authenticate("anna", "wrong", "10.0.1.2") == Refused(Reason.WRONG, 2.0)
    clock.now += 1.9
    assert isinstance(await subject.authenticate("anna", GOOD, "10.0.1.1"), Refused)
    clock.now += 0.2
    assert isinstance(await subject.authenticate("anna", GOOD, "10.0.1.1"), Identity)
    assert isinstance(await subject.authenticate("anna", GOOD, "10.0.1.1"), Identity)


async def test_number_delay_and_period_of_failures_are_configured(file: Path) -> None:
    """A plant has rules of its own for failed attempts."""
    clock = Clock()
    subject = Authenticator(Users(file), Passwords(QUICK), clock, Lockout(failures=2, delay=600.0, period=1200.0))
    found = [await subject.authenticate("anna", "wrong", f"10.0.0.{at}") for at in range(2)]
    assert found == [Refused(Reason.WRONG), Refused(Reason.WRONG, 600.0, locked=True)]
    clock.now += 599.0
    assert await subject.authenticate("anna", GOOD, "10.0.1.1") == Refused(Reason.THROTTLED, 1.0)
    clock.now += 1.0
    assert await subject.authenticate("anna", "wrong", "10.0.1.2") == Refused(Reason.WRONG, LONGEST)
    assert subject.failures("anna").number == 3
    clock.now += 1199.0
    assert subject.failures("anna").number == 3
    clock.now += 1.0
    assert subject.failures("anna").number == 0
    assert await subject.authenticate("anna", "wrong", "10.0.2.1") == Refused(Reason.WRONG)


async def test_an_address_that_guesses_names_is_slowed_down(file: Path) -> None:
    """One password for many names never fails five times for one name."""
    subject = authenticator(file)
    for at in range(USUAL.failures):
        await subject.authenticate(f"name-{at}", "wrong", "10.0.0.1")
    assert isinstance(await subject.authenticate("anna", GOOD, "10.0.0.1"), Refused)
    assert isinstance(await subject.authenticate("anna", GOOD, "10.0.0.2"), Identity)


async def test_an_own_account_does_not_clear_the_failures_of_an_address(file: Path) -> None:
    subject = authenticator(file)
    for at in range(USUAL.failures):
        await subject.authenticate(f"name-{at}", "wrong", "10.0.0.1")
        if at < USUAL.failures - 1:
            assert isinstance(await subject.authenticate("anna", GOOD, "10.0.0.1"), Identity)
    assert isinstance(await subject.authenticate("anna", GOOD, "10.0.0.1"), Refused)


async def test_attempts_at_the_same_time_count(file: Path) -> None:
    subject = authenticator(file)
    found = await asyncio.gather(*(subject.authenticate("anna", "wrong", "10.0.0.1") for _ in range(10)))
    reasons = [one.reason for one in found if isinstance(one, Refused)]
    assert reasons.count(Reason.THROTTLED) == 10 - USUAL.failures


def test_the_defaults_of_code_and_configuration_agree() -> None:
    assert Lockout(**LockoutSection().model_dump()) == USUAL


@pytest.mark.parametrize(
    "written",
    [{"failures": 0}, {"failures": 21}, {"delay": 0.5}, {"delay": 901.0}, {"period": 899.0}, {"period": 604801.0}],
)
def test_a_lockout_that_protects_nobody_or_locks_for_days_is_refused(written: dict[str, Any]) -> None:
    """A period below the longest delay would end the delay early."""
    with pytest.raises(ValidationError, match=next(iter(written))):
        LockoutSection(**written)


def test_delays_have_an_end_and_failures_are_forgotten() -> None:
    table = FailureTable(USUAL)
    for _ in range(100):
        table.add("anna", 0.0)
    assert table.wait("anna", 0.0) == LONGEST
    assert table.wait("anna", USUAL.period) == 0.0
    assert len(table) == 0


def test_the_table_of_failures_is_bounded() -> None:
    table = FailureTable(USUAL, most=10)
    for at in range(1000):
        table.add(str(at), float(at))
    assert len(table) == 10


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
    ],
)
def test_a_subscriber_has_one_key(address: str, key: str) -> None:
    assert address_key(address) == key
