"""The base of every protocol's settings of a device and its points."""

from __future__ import annotations

import re
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict
from typing_extensions import TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivers.private_key import KeyFile
    from drivers.quality import ValueType

_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


_UNITS = {
    "usec": "us", "µs": "us", "μs": "us", "msec": "ms", "millis": "ms", "milliseconds": "ms", "millisecond": "ms",
    "sec": "s", "secs": "s", "second": "s", "seconds": "s", "sek": "s", "min": "m", "mins": "m", "minute": "m",
    "minutes": "m", "hr": "h", "hrs": "h", "hour": "h", "hours": "h", "std": "h", "day": "d", "days": "d",
}  # fmt: skip
"""How units of time are often written -> the unit."""


def _likely(written: str) -> str:
    """Return the duration that is likely meant: `1sec` is 1s, and 0,5s is 0.5s."""
    match = re.fullmatch(r"\s*(\d+(?:[.,]\d+)?)\s*([^\W\d]+)\.?\s*", written)
    unit = match and (_UNITS.get(match[2].lower()) or (match[2].lower() if match[2].lower() in _SECONDS else None))
    return f"{match[1].replace(',', '.')}{unit}" if match and unit else "500ms"


def parse_duration(written: object) -> object:
    """Convert `500ms`, `10s`, `5m`, `1h` or `7d` to seconds. Raises `ValueError` for other text."""
    if isinstance(written, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(us|ms|s|m|h|d)\s*", written)
        if not match:
            raise ValueError(
                f"{written!r} is not a duration; write a number and us, ms, s, m, h or d, as in {_likely(written)}"
            )
        return float(match[1]) * _SECONDS[match[2]]
    return written


def _seconds(written: object) -> object:
    if isinstance(written, str) and re.fullmatch(r"\d+(?:\.\d+)?", written):
        return float(written)
    return parse_duration(written)


Seconds = Annotated[float, BeforeValidator(_seconds)]
"""A duration in a connection's options: `0.5` or `500ms`, both half a second; in a URL both are text."""


def parse_file(written: object) -> object:
    """Turn text into a path; `~` is the home folder. Raises `ValueError`."""
    if not isinstance(written, str):
        return written
    try:
        return Path(written).expanduser()
    except RuntimeError:  # ~nobody
        raise ValueError(f"{written!r} begins with the home folder of an unknown user") from None


File = Annotated[Path | None, BeforeValidator(parse_file)]
"""A file or folder. A relative path follows the file of the configuration that it is written in."""


def _truth(written: object) -> object:
    return {"true": True, "false": False}.get(written, written) if isinstance(written, str) else written


Flag = Annotated[bool, BeforeValidator(_truth)]
"""True or false in a connection's options; in a URL both are text."""


class Settings(BaseModel):
    """The base of all settings: strict, frozen, with finite numbers; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    one_key: ClassVar[bool] = False  # whether exactly one key is written, and the others are empty

    @property
    def exposure(self) -> str:
        """What others on the network can read, forge or reach, and what would be right; empty if nothing.

        Also empty if a person has accepted it with `insecure: true`. See `drivers/exposure.py`.
        """
        return ""

    @property
    def key_files(self) -> Sequence[KeyFile]:
        """The files of private keys that these settings name, which may be locked with a password."""
        return ()


def as_written(value: Any) -> Any:  # noqa: ANN401 - any settings' value
    """Return a value of settings as plain data in the form of the configuration; secrets stay names."""
    if isinstance(value, BaseModel):
        keys = {key: getattr(value, key) for key in type(value).model_fields}
        one_key = isinstance(value, Settings) and value.one_key
        return {key: as_written(item) for key, item in keys.items() if item or not one_key}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return str(value)
    if isinstance(value, tuple | list):
        return [as_written(item) for item in value]
    if isinstance(value, dict):
        return {key: as_written(item) for key, item in value.items()}
    return str(value) if isinstance(value, str | PurePath) else value


class Source(Settings):
    """The address of one point on its device. Each protocol has its own fields."""

    by_type: ClassVar[tuple[str, ...]] = ()  # keys that a template's defaults may give for each type of raw value

    @classmethod
    def fitting(cls, defaults: dict[str, Any], written: dict[str, Any]) -> dict[str, Any]:
        """Return the defaults of a template that apply to a point with the keys `written`."""
        del written
        return defaults

    @classmethod
    def expand(cls, name: str, keys: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Return the points, by name, that a point of a template describes: itself, or the elements of an array."""
        return {name: keys}

    def written(self) -> dict[str, Any]:
        """Return the keys, as in the configuration, that describe this source, without defaults."""
        keys = ((key, getattr(self, key), field.default) for key, field in type(self).model_fields.items())
        return {key: as_written(value) for key, value, default in keys if value != default}

    @property
    def value_type(self) -> ValueType | None:
        """The type of the raw value, None if only the device knows it."""
        return None

    @property
    def structured(self) -> bool:
        """Whether the device may have structures and arrays here, which a point of type `json` reads as one value."""
        return False

    @property
    def fits_int64(self) -> bool:
        """Whether integers of this source always fit 64 bits with a sign; if not, each value is checked."""
        return False

    @property
    def shortest_decimals(self) -> bool:
        """Whether floats of this source have fewer digits than a double, and are given as their shortest decimals."""
        return False

    @property
    def limits(self) -> tuple[int, int] | None:
        """The lowest and the highest integer of this source, None if unknown."""
        return None

    @property
    def knows_range(self) -> bool:
        """Whether the device supports a deadband in percent of a range that it knows."""
        return False

    @property
    def pushed(self) -> bool:
        """Whether the device sends this point without a request."""
        return False

    @property
    def repeats(self) -> bool:
        """Whether a value that is equal to the value before is a new reading."""
        return False

    @property
    def search(self) -> bool:
        """Whether this is a search for points that only the device knows; it runs after connecting."""
        return False

    @property
    def events(self) -> bool:
        """Whether each reading is an event, so that the point has no value between two readings."""
        return False


class Connection(Settings):
    """The settings of a connection to one machine. Each protocol has its own fields."""

    schemes: ClassVar[tuple[str, ...]] = ()
    of_url: ClassVar[tuple[str, ...]] = ()  # fields that the URL contains, which are not options

    @classmethod
    def from_url(cls, url: str, options: dict[str, Any]) -> Self:
        """Build from a URL and its options.

        Raises `ValueError` (or pydantic's `ValidationError`, a subclass) if the URL or an option is wrong.
        """
        raise NotImplementedError

    @property
    def tcp_port(self) -> int | None:
        """The TCP port on which the device listens; None if it has none, or dials in."""
        return None

    def hosts(self) -> Sequence[str]:
        """Return the addresses that the gateway connects to, as URLs; none of a serial line.

        A device that dials in is `peer://ADDRESS`, or `peer://*` if any may. What a policy allows is checked with
        these; the driver connects nowhere else.
        """
        url = str(self)
        return (url,) if "://" in url else ()

    @property
    def unauthenticated(self) -> str:
        """The protocol in which the device proves no identity, and no message its origin; empty if both are proved.

        IEC 62443-4-2, CR 1.2 and CR 3.1: the plant has to compensate for such a connection.
        """
        return ""

    @property
    def patience(self) -> float:
        """Seconds for which connecting waits for a device that dials in; 0 if the gateway connects to the device."""
        return 0.0

    def beside(self, folder: Path) -> Self:  # noqa: ARG002 - of those with such defaults
        """Return this with its default files and folders below the folder of the configuration."""
        return self

    def anywhere(self) -> Connection:
        """Return this without its address: connections with equal results have the same cost for the same points."""
        return self

    def exclusive_address(self) -> object | None:
        """Return the identity of the serial line, or of the address, that serves a single connection.

        Machines with equal results must have equal results of `shared`, too. None if several connections are usual.
        """
        return None

    def listening(self) -> object | None:
        """Return the identity of the port on which the gateway waits for the device; None if the gateway connects.

        Connections with equal results are read by one process, since only one process can listen on a port.
        """
        return None

    def shared(self) -> Connection:
        """Return this without the settings of one machine, such as a unit id.

        Machines with equal results share one driver, and so one connection to the device.
        """
        return self


ConnectionT = TypeVar("ConnectionT", bound=Connection, default=Connection)
"""The connections of one protocol."""

SourceT = TypeVar("SourceT", bound=Source, default=Source)
"""The sources of one protocol's points."""

ConnectionT_co = TypeVar("ConnectionT_co", bound=Connection, default=Connection, covariant=True)
SourceT_co = TypeVar("SourceT_co", bound=Source, default=Source, covariant=True)
