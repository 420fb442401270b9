"""Commands that show readings: `tail` as the broker delivers them, `query` as they are stored."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from gateway.cli.common import FORMAT, SET, load, serve

if TYPE_CHECKING:
    import asyncio

    from gateway.model.reading import Reading

_CONFIG = click.option(
    "--config",
    "-c",
    type=click.Path(dir_okay=False),
    required=True,
    envvar="LINESIDE_CONFIG",
    help="The factory's YAML; or set LINESIDE_CONFIG.",
)

_TEXT = "{time}  {point:<72} {value:>18} {unit:<8} {quality}"


@click.command()
@click.argument("pattern", default="*")
@_CONFIG
@SET
@FORMAT
@click.option("--count", "-n", type=int, default=0, help="Stop after so many readings.")
def tail(pattern: str, config: str, style: str, count: int) -> None:
    """Print readings that match PATTERN as they pass the broker, such as 'press-01/*' or 'bladder_*'."""
    from pathlib import Path  # noqa: PLC0415 - see gateway.cli

    factory = load(Path(config))

    async def main(stop: asyncio.Event) -> None:
        from gateway.ingest.tail import follow  # noqa: PLC0415 - see gateway.cli

        await follow(factory, pattern, stop, lambda reading: click.echo(show(reading, style)), count)

    serve(main)


@click.command()
@click.argument("pattern", default="*")
@_CONFIG
@SET
@FORMAT
@click.option("--last", default="10m", show_default=True, help="How far back, as 30s, 10m, 1h, 7d.")
@click.option("--limit", default=1000, show_default=True, help="Print so many readings at the most, the newest.")
def query(pattern: str, config: str, style: str, last: str, limit: int) -> None:
    """Print stored readings that match PATTERN, oldest first."""
    import time  # noqa: PLC0415 - see gateway.cli
    from contextlib import closing  # noqa: PLC0415 - see gateway.cli
    from pathlib import Path  # noqa: PLC0415 - see gateway.cli

    from gateway.common.setting_types import parse_duration  # noqa: PLC0415 - see gateway.cli
    from gateway.stores.base import StoreError  # noqa: PLC0415 - see gateway.cli

    factory = load(Path(config))
    try:
        seconds = parse_duration(last)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--last") from error
    since = time.time_ns() // 1000 - round(float(str(seconds)) * 1e6)
    errors = []
    for entry in factory.stores:
        try:
            store = entry.kind.make(entry.settings)
            store.open_for_query()
            with closing(store):
                found = list(store.query(pattern, since, limit))
        except StoreError as error:
            errors.append(f"{entry.kind.name}: {error}")
            continue
        for reading in reversed(found):
            click.echo(show(reading, style))
        return
    click.echo("\n".join(errors) or f"{config}: no stores", err=True)
    sys.exit(1)


def show(reading: Reading, style: str) -> str:
    """Return a reading as a line of text, or of JSON."""
    from datetime import UTC, datetime  # noqa: PLC0415 - see gateway.cli

    time = datetime.fromtimestamp(reading.time / 1e6, UTC).isoformat(timespec="milliseconds")
    if style == "json":
        import orjson  # noqa: PLC0415 - see gateway.cli

        data = reading.path._asdict() | {
            "point": reading.point, "time": time, "value": reading.value, "unit": reading.unit,
            "quality": reading.quality.value, "reason": reading.reason, "code": reading.code, "late": reading.late,
        }  # fmt: skip
        return orjson.dumps(data).decode()
    value = _printable(reading.value) if isinstance(reading.value, str) else reading.value
    text = "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    words = (reading.quality.value, reading.reason, reading.code, "late" if reading.late else "")
    quality = _printable(" ".join(word for word in words if word))
    point, unit = _printable(f"{reading.path}/{reading.point}"), _printable(reading.unit)
    return _TEXT.format(time=time, point=point, value=text, unit=unit, quality=quality)


def _printable(text: str) -> str:
    """Return a text with escapes in place of characters that would steer a terminal."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
