"""What a user writes of a device and its points: the base of every protocol's settings."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict
from typing_extensions import TypeVar

if TYPE_CHECKING:
    from drivers.quality import ValueType

_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(written: object) -> object:
    """Turn `500ms`, `10s`, `5m`, `1h` or `7d` into seconds."""
    if isinstance(written, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(us|ms|s|m|h|d)\s*", written)
        if not match:
            raise ValueError(f"{written!r} is no duration; write a number and us, ms, s, m, h or d, as in '500ms'")
        return float(match[1]) * _SECONDS[match[2]]
    return written


def _seconds(written: object) -> object:
    if isinstance(written, str) and re.fullmatch(r"\d+(?:\.\d+)?", written):
        return float(written)
    return parse_duration(written)


Seconds = Annotated[float, BeforeValidator(_seconds)]
"""A length of time in a connection's options: `0.5` is seconds, `500ms` the same; in a URL both are text."""


def _truth(written: object) -> object:
    return {"true": True, "false": False}.get(written, written) if isinstance(written, str) else written


Flag = Annotated[bool, BeforeValidator(_truth)]
"""True or false in a connection's options; in a URL both are text."""


class Settings(BaseModel):
    """The base of what a user writes: strict, frozen, numbers are finite, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    one_key: ClassVar[bool] = False  # whether one of the keys is written, and the others are empty


def as_written(value: Any) -> Any:  # noqa: ANN401 - any settings' value
    """Return a value of settings as plain data, as a user writes it; secrets stay names."""
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
    """Where a driver finds one point on its device. Each protocol has its own fields."""

    @classmethod
    def fitting(cls, defaults: dict[str, Any], written: dict[str, Any]) -> dict[str, Any]:
        """Return those of a template's defaults that make sense under the keys written for one point."""
        del written
        return defaults

    @classmethod
    def expand(cls, name: str, keys: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Return the points, by name, that one of a template stands for: itself, or the elements of an array."""
        return {name: keys}

    def written(self) -> dict[str, Any]:
        """Return the keys, as a user writes them, that make this source again; defaults are left out."""
        keys = ((key, getattr(self, key), field.default) for key, field in type(self).model_fields.items())
        return {key: as_written(value) for key, value, default in keys if value != default}

    @property
    def value_type(self) -> ValueType | None:
        """The type that the raw value has by itself, None where only the device knows."""
        return None

    @property
    def fits_int64(self) -> bool:
        """Whether whole numbers from here always fit 64 bits with a sign; else each is checked."""
        return False

    @property
    def limits(self) -> tuple[int, int] | None:
        """The lowest and the highest whole number that can stand here, None where the source doesn't know."""
        return None

    @property
    def knows_range(self) -> bool:
        """Whether the device can hold back changes within a percentage of a range that it knows by itself."""
        return False

    @property
    def pushed(self) -> bool:
        """Whether the device sends this point by itself instead of being asked."""
        return False

    @property
    def search(self) -> bool:
        """Whether this stands for points that only the device knows: they are found when it is connected to."""
        return False

    @property
    def events(self) -> bool:
        """Whether this is no quantity with a value at any time, but what happens: each reading is an event."""
        return False


class Connection(Settings):
    """How one machine is reached. Each protocol has its own fields."""

    schemes: ClassVar[tuple[str, ...]] = ()
    of_url: ClassVar[tuple[str, ...]] = ()  # fields that the URL says, which are no options beside it

    @classmethod
    def from_url(cls, url: str, options: dict[str, Any]) -> Self:
        """Build from a URL and the options beside it.

        Raises `ValueError` (pydantic's `ValidationError` is one) where either is wrong.
        """
        raise NotImplementedError

    @property
    def tcp_port(self) -> int | None:
        """The TCP port on which the device listens; None where it has none, or dials in itself."""
        return None

    def anywhere(self) -> Connection:
        """Return this without where it is: over connections that are equal here, the same points cost the same."""
        return self

    def shared(self) -> Connection:
        """Return this without what is one machine's own, such as a unit id.

        Machines whose connections are equal here share one driver, so one connection to the device.
        """
        return self


ConnectionT = TypeVar("ConnectionT", bound=Connection, default=Connection)
"""The connections of one protocol."""

SourceT = TypeVar("SourceT", bound=Source, default=Source)
"""The sources of one protocol's points."""

ConnectionT_co = TypeVar("ConnectionT_co", bound=Connection, default=Connection, covariant=True)
SourceT_co = TypeVar("SourceT_co", bound=Source, default=Source, covariant=True)
