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
from gateway.users.roles import DEFAULTS, Permission, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gateway.settings.dashboard_section import DashboardSection
    from gateway.users.role_changes import RoleChange
    from gateway.users.users_file import User, UserTable

NAME = click.argument("name", metavar="NAME")

PASSWORD_STDIN = click.option(
    "--password-stdin", "stdin", is_flag=True, help="Read the password from the first line of standard input."
)

ROLE = click.option("--role", required=True, help="The role of the user, as lineside users roles lists them.")


@click.group(cls=CommandGroup)
def users() -> None:
    """Add, change and remove those who may sign in to the dashboard."""


@users.command("list")
@CONFIG
@FORMAT
def list_(config: Path, style: str) -> None:
    """List the users of CONFIG with their roles."""
    file, found = _read(config)
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
    from gateway.users.role_changes import known_role  # noqa: PLC0415 - see gateway.cli
    from gateway.users.users_file import check_name, new_user  # noqa: PLC0415 - see gateway.cli

    section = load(config).dashboard
    try:
        check_name(name)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    hashed = _hashed(name, section.password_length, stdin=stdin)
    with _changing(section) as (found, audit):
        known_role(found, role)
        if same := next((one for one in found if one.casefold() == name.casefold()), None):
            raise click.ClickException(f"there is a user {same!r}; write another name")
        found[name] = new_user(role, hashed)
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
    from gateway.users.role_changes import give_role  # noqa: PLC0415 - see gateway.cli
    from gateway.users.users_file import user_of  # noqa: PLC0415 - see gateway.cli

    section = load(config).dashboard
    with _changing(section) as (found, audit):
        user = user_of(found, name)
        give_role(found, name, role, _provider(section))
        audit += [("user-role", name, _audited(user), _audited(found[name]))]
    _print(name, found[name], style)


@users.command()
@CONFIG
@FORMAT
def roles(config: Path, style: str) -> None:
    """List the roles of CONFIG with their permissions."""
    file, found = _read(config)
    if style == "json":
        rows = [
            {"name": name, "permissions": listed(one), "changed": DEFAULTS.get(name) != one}
            for name, one in found.roles.items()
        ]
        print_json({"file": str(file), "permissions": list(Permission), "roles": rows})
        return
    for name, permissions in found.roles.items():
        echo(_role_line(name, listed(permissions)))


@users.command("set-role")
@CONFIG
@click.argument("role", metavar="ROLE")
@click.argument("permissions", metavar="[PERMISSION]...", nargs=-1)
@FORMAT
def set_role_(config: Path, role: str, permissions: tuple[str, ...], style: str) -> None:
    """Let ROLE permit exactly these PERMISSIONs, at once; a new name is a new role.

    A PERMISSION is trends, export, acknowledge, shelve, reasons, configuration, users or audit. Each role permits to
    see machines, live readings, alarms and services.
    """
    from gateway.users.role_changes import permissions_of, set_role  # noqa: PLC0415 - see gateway.cli

    section = load(config).dashboard
    _change_role(section, style, lambda table: set_role(table, role, permissions_of(permissions), _provider(section)))


@users.command("remove-role")
@CONFIG
@click.argument("role", metavar="ROLE")
@FORMAT
def remove_role_(config: Path, role: str, style: str) -> None:
    """Remove ROLE, or give viewer, operator, engineer or admin back its default permissions."""
    from gateway.users.role_changes import remove_role  # noqa: PLC0415 - see gateway.cli

    section = load(config).dashboard
    _change_role(section, style, lambda table: remove_role(table, role, _provider(section)))


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


def _change_role(section: DashboardSection, style: str, change: Callable[[UserTable], RoleChange]) -> None:
    """Change a role, record it, and print what became of it."""
    with _changing(section) as (found, audit):
        done = change(found)
        audit += [("role-removed" if done.after is None else "role-changed", done.role, done.before, done.after)]
    if style == "json":
        print_json({"name": done.role, "before": done.before, "permissions": done.after})
    else:
        echo(f"{done.role} is removed" if done.after is None else _role_line(done.role, done.after))


def _role_line(name: str, permissions: list[str]) -> str:
    return f"{name:<24}  {', '.join(permissions) or 'to look alone'}"


def _provider(section: DashboardSection) -> tuple[str, ...]:
    """Return the roles that the identity provider gives."""
    return () if section.oidc is None else tuple(section.oidc.roles)


def _read(config: Path) -> tuple[Path, UserTable]:
    """Return the file with the users of a configuration, and its content; a file that can't be used is an error."""
    from gateway.users.users_file import UnusableUsers, read_users  # noqa: PLC0415 - see gateway.cli

    file = load(config).dashboard.users
    try:
        return file, read_users(file)
    except UnusableUsers as error:
        raise click.ClickException(str(error)) from None


@contextmanager
def _changing(section: DashboardSection) -> Iterator[tuple[UserTable, list[tuple[str, str, Any, Any]]]]:
    """Give the users for a change, and a list for its entries in the audit log."""
    from gateway.users.role_changes import BadRole  # noqa: PLC0415 - see gateway.cli
    from gateway.users.users_file import UnknownUser, UnusableUsers, changing  # noqa: PLC0415 - see gateway.cli

    said: list[tuple[str, str, Any, Any]] = []
    try:
        with changing(section.users) as found:
            yield found, said
    except (UnknownUser, UnusableUsers, BadRole) as error:
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
