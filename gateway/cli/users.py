"""`lineside users`: who may sign in to the dashboard, and with which role."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.audited import Said, record
from gateway.cli.common import CONFIG, FORMAT, load, print_json
from gateway.cli.group import CommandGroup
from gateway.cli.output import echo
from gateway.users.roles import Role

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.settings.dashboard_section import DashboardSection
    from gateway.users.users_file import User

ROLES = [str(role) for role in Role]

NAME = click.argument("name", metavar="NAME")

PASSWORD_STDIN = click.option(
    "--password-stdin", "stdin", is_flag=True, help="Read the password from the first line of standard input."
)

ROLE = click.option("--role", required=True, type=click.Choice(ROLES), help="The rights of the user.")


@click.group(cls=CommandGroup)
def users() -> None:
    """Add, change and remove those who may sign in to the dashboard."""


@users.command("list")
@CONFIG
@FORMAT
def list_(config: Path, style: str) -> None:
    """List the users of CONFIG with their roles."""
    from gateway.users.users_file import UnusableUsers, read_users  # noqa: PLC0415 - see gateway.cli

    file = load(config).dashboard.users
    try:
        found = read_users(file)
    except UnusableUsers as error:
        raise click.ClickException(str(error)) from None
    if style == "json":
        print_json({"file": str(file), "users": [_as_dict(name, found[name]) for name in sorted(found)]})
        return
    for name in sorted(found):
        echo(_line(name, found[name]))
    echo(f"{len(found)} in {file}", err=True)


@users.command()
@CONFIG
@NAME
@ROLE
@PASSWORD_STDIN
@FORMAT
def add(config: Path, name: str, role: str, style: str, *, stdin: bool) -> None:
    """Add the user NAME; the password is asked for."""
    from gateway.users.users_file import check_name, new_user  # noqa: PLC0415 - see gateway.cli

    section = load(config).dashboard
    try:
        check_name(name)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    hashed = _hashed(name, section.password_length, stdin=stdin)
    with _changing(section) as (found, audit):
        if same := next((one for one in found if one.casefold() == name.casefold()), None):
            raise click.ClickException(f"there is a user {same!r}; write another name")
        found[name] = new_user(Role(role), hashed)
        audit += [("user-added", name, None, {"role": role})]
    _print(name, found[name], style)


@users.command()
@CONFIG
@NAME
@FORMAT
def remove(config: Path, name: str, style: str) -> None:
    """Remove the user NAME; the user's sessions end at once."""
    from gateway.users.users_file import user_of  # noqa: PLC0415 - see gateway.cli

    with _changing(load(config).dashboard) as (found, audit):
        user = user_of(found, name)
        del found[name]
        audit += [("user-removed", name, {"role": str(user.role)}, None)]
    if style == "json":
        print_json({"name": name, "removed": True})
    else:
        echo(f"{name} is removed")


@users.command()
@CONFIG
@NAME
@ROLE
@FORMAT
def role(config: Path, name: str, role: str, style: str) -> None:
    """Give the user NAME another role; the user's sessions have it at once."""
    _change(load(config).dashboard, name, style, "user-role", role=Role(role))


@users.command()
@CONFIG
@NAME
@PASSWORD_STDIN
@FORMAT
def password(config: Path, name: str, style: str, *, stdin: bool) -> None:
    """Give the user NAME another password, which is asked for; the user's sessions end at once."""
    section = load(config).dashboard
    _change(section, name, style, "user-password", password=_hashed(name, section.password_length, stdin=stdin))


@users.command()
@CONFIG
@NAME
@FORMAT
def disable(config: Path, name: str, style: str) -> None:
    """Lock the user NAME out, and keep the password; the user's sessions end at once."""
    _change(load(config).dashboard, name, style, "user-disabled", disabled=True)


@users.command()
@CONFIG
@NAME
@FORMAT
def enable(config: Path, name: str, style: str) -> None:
    """Let the user NAME sign in again."""
    _change(load(config).dashboard, name, style, "user-enabled", disabled=False)


def _change(
    section: DashboardSection, name: str, style: str, action: str, **keys: Any  # noqa: ANN401 - of a user
) -> None:  # fmt: skip
    from gateway.users.users_file import user_of  # noqa: PLC0415 - see gateway.cli

    with _changing(section) as (found, audit):
        user = user_of(found, name)
        found[name] = user.model_copy(update=keys)
        audit += [(action, name, _audited(user), _audited(found[name]))]
    _print(name, found[name], style)


@contextmanager
def _changing(section: DashboardSection) -> Iterator[tuple[dict[str, User], list[tuple[str, str, Any, Any]]]]:
    """Give the users for a change, and a list for its entries in the audit log."""
    from gateway.users.users_file import UnknownUser, UnusableUsers, changing  # noqa: PLC0415 - see gateway.cli

    said: list[tuple[str, str, Any, Any]] = []
    try:
        with changing(section.users) as found:
            yield found, said
    except (UnknownUser, UnusableUsers) as error:
        raise click.ClickException(str(error)) from None
    record(section.audit, *(Said(*one) for one in said))


def _hashed(name: str, shortest: int, *, stdin: bool) -> str:
    """Ask for a password of at least `shortest` characters, and return its hash."""
    from gateway.users.passwords import BadPassword, Passwords, check_password  # noqa: PLC0415 - see gateway.cli

    passwords = Passwords()
    if stdin:
        written = sys.stdin.readline(10_000).rstrip("\r\n")
    elif sys.stdin.isatty():
        written = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        raise click.UsageError("standard input is not a terminal; write --password-stdin")
    try:
        check_password(written, name, shortest)
        return passwords.hash(written)
    except BadPassword as error:
        raise click.ClickException(str(error)) from None


def _audited(user: User) -> dict[str, Any]:
    return {"role": str(user.role), "disabled": user.disabled}


def _as_dict(name: str, user: User) -> dict[str, Any]:
    return {"name": name, "role": str(user.role), "disabled": user.disabled, "created": user.created}


def _line(name: str, user: User) -> str:
    return f"{name:<24}  {user.role:<8}  {user.created}{'  disabled' if user.disabled else ''}"


def _print(name: str, user: User, style: str) -> None:
    if style == "json":
        print_json(_as_dict(name, user))
    else:
        echo(_line(name, user))
