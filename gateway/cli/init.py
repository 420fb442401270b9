"""`lineside init`: a first factory, out of a few questions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
from pydantic import ValidationError

import drivers
from gateway.cli.common import OUTPUT_FOLDER, load, size_of
from gateway.cli.import_points import write
from gateway.cli.output import echo
from gateway.cli.problem_text import print_problems
from gateway.common.setting_types import check_name
from gateway.settings.exposure import exposure_warnings
from gateway.settings.interpolation import escaped
from gateway.settings.policy import policy_path, read_policy
from gateway.settings.sections import BrokerSection
from gateway.settings.serialize import dump
from gateway.settings.templates import bundled_config
from gateway.settings.validation import describe

if TYPE_CHECKING:
    from collections.abc import Callable

    from drivers.base import AnyProtocol


class Question(NamedTuple):
    """A question for a value that the command line does not give."""

    text: str
    default: str
    check: Callable[[str], object]


def _name(written: str) -> None:
    check_name(written)


def _broker(written: str) -> None:
    BrokerSection.model_validate({"url": written})


def _connection(written: str) -> None:
    _protocol(written)


def _protocol(url: str) -> AnyProtocol:
    """Return the protocol of a connection. Raises `ValueError` for an invalid connection."""
    kinds = drivers.usable()
    kind = next((kind for kind in kinds if url.partition(":")[0] in kind.connection.schemes), None)
    if kind is None:
        raise ValueError(
            f"write one of {', '.join(f'{scheme}://' for kind in kinds for scheme in kind.connection.schemes)}"
        )
    drivers.parse_connection(kind, url)
    return kind


def _anything(written: str) -> None:
    del written


QUESTIONS = {
    "enterprise": Question("Company", "acme", _name),
    "site": Question("Site", "north", _name),
    "gateway": Question("Name of this gateway", "edge-01", _name),
    "broker": Question("Broker", "mqtt://localhost:1883", _broker),
    "username": Question("User at the broker (none: leave empty)", "", _anything),
    "area": Question("Area of the first machine", "area-1", _name),
    "line": Question("Line of the first machine", "line-1", _name),
    "machine": Question("Name of the first machine", "machine-01", _name),
    "connection": Question("Where it is", "modbus+tcp://10.20.1.11:502?unit=1", _connection),
    "template": Question("Its type: a new name, or a template that is there", "machine", _name),
}


@click.command()
@click.option("--out", type=OUTPUT_FOLDER, default=Path(), help="Folder to write to.")
@click.option("--yes", is_flag=True, help="Ask nothing; use the defaults.")
@click.option("--force", is_flag=True, help="Write over files that are there.")
@click.option("--enterprise", help="The company, the first level of all topics.")
@click.option("--site", help="The site, the second level.")
@click.option("--gateway", help="The name of this gateway, unique in the site.")
@click.option("--broker", help="The broker's URL.")
@click.option("--username", help="The user at the broker; the password is the secret broker_password.")
@click.option("--area", help="The area of the first machine.")
@click.option("--line", help="The line of the first machine.")
@click.option("--machine", help="The name of the first machine.")
@click.option("--connection", help="Where the first machine is, such as modbus+tcp://HOST:502?unit=1.")
@click.option("--template", help="The type of the first machine.")
def init(out: Path, *, yes: bool, force: bool, **said: str | None) -> None:
    """Ask a few questions, and write a first factory that is right, and a template for its first machine.

    Warns of an answer that lets others on the network read or change messages: a broker elsewhere is mqtts://HOST:8883.
    """
    answers = {key: _answer(key, said[key], yes=yes) for key in QUESTIONS}
    files = {"factory.yaml": _factory(answers)}
    protocol = _protocol(answers["connection"])
    if not _is_there(answers["template"], out):
        files[f"machines/{answers['template']}.yaml"] = _template(protocol)
    write(out, files, force=force)
    factory = load(out / "factory.yaml")
    echo(f"{out / 'factory.yaml'}: valid: {size_of(factory)}")
    for name in files:
        echo(f"  wrote {out / name}")
    print_problems(list(exposure_warnings(factory)))
    if answers["username"]:
        echo("  put the broker's password into the file /run/secrets/broker_password")
    if read_policy() is None:
        bound = f"gateways: [{answers['gateway']}]"
        echo(f"  so that its box runs no other gateway: write {bound} into {policy_path()} there, as root")


def _answer(key: str, said: str | None, *, yes: bool) -> str:
    """Return the value of the command line, else the answer, else the default."""
    question = QUESTIONS[key]

    def checked(written: str) -> str:
        try:
            question.check(written)
        except ValueError as error:
            raise click.BadParameter(_message(error), param_hint=f"--{key}") from None
        return written

    if said is not None or yes:
        return checked(question.default if said is None else said)
    try:
        answer: str = click.prompt(question.text, default=question.default, value_proc=checked)
    except click.Abort as error:
        if not isinstance(error.__context__, EOFError):
            raise
        echo()
        raise click.UsageError(
            f"standard input ended before {question.text.lower()!r} was answered; write --{key}, or --yes for the "
            "defaults"
        ) from None
    return answer


def _message(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(describe(detail) for detail in error.errors(include_url=False))
    return str(error)


def _is_there(template: str, out: Path) -> bool:
    return any(
        (folder / f"{template}.yaml").is_file() for folder in (out / "machines", bundled_config() / "machines")
    )


def _factory(answers: dict[str, str]) -> str:
    written = {key: dump(escaped(answer), flow=True) for key, answer in answers.items()}
    user = f", username: {written['username']}, password: {{secret: broker_password}}" if answers["username"] else ""
    return f"""# What each key means: docs/configuration.md. Is it right: lineside validate factory.yaml
format: 1
factory: {{enterprise: {written["enterprise"]}, site: {written["site"]}}}
gateway:
  id: {written["gateway"]}
  spool: {{folder: lineside-data, max_size: 2GiB}}
broker: {{url: {written["broker"]}{user}}}
ingest: {{folder: lineside-data}}
stores:
  - sqlite: {{path: lineside-data/readings.db}}
lines:
  {written["line"]}:
    area: {written["area"]}
    machines:
      {written["machine"]}: {{template: {written["template"]}, connection: {written["connection"]}}}
"""


def _template(protocol: AnyProtocol) -> str:
    return f"""# A machine type: its points, written once for all machines of it.
format: 1
protocol: {protocol.name}
points:
  temperature: {protocol.example}
"""
