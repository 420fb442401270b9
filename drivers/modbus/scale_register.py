"""Scale factors that the device keeps in registers, as SunSpec's `sunssf` (SunSpec Information Model, clause 4.2)."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import Field, InstanceOf, model_validator

from drivers.base import Fault, Reason, Settings, bad
from drivers.modbus.address import Address  # noqa: TC001 - pydantic reads the annotation
from drivers.modbus.raw_types import FLOATS, SHAPES, Raw

if TYPE_CHECKING:
    from collections.abc import Callable

    from drivers.base import Value

    Scaling: TypeAlias = Callable[[Any, Any], Value | Fault]
    """A raw value, or its fault, and the content of the scale register -> the value, or its fault."""

NOT_IMPLEMENTED = -0x8000
"""The exponent of a scale factor that the device does not have: the value is not available either."""

LARGEST_EXPONENT = 10
"""Of SunSpec's scale factors, with both signs; another content is not a scale factor."""

_POWERS = [10**exponent for exponent in range(LARGEST_EXPONENT + 1)]


class ScaleKind(StrEnum):
    """The meaning of a scale register's content."""

    EXPONENT = "exponent"
    DECIMALS = "decimals"
    FACTOR = "factor"
    DIVISOR = "divisor"


class ScaleRegister(Settings):
    """A register that scales the values of points, read together with each of them."""

    address: InstanceOf[Address]
    """Table and entry, as in `holding 40075`."""
    raw: Annotated[Raw, Field(strict=False)] = Raw.INT16
    """The type of its content, as in `uint16`."""
    kind: Annotated[ScaleKind, Field(strict=False)] = ScaleKind.EXPONENT
    """Whether it is an exponent of ten, a number of decimals, a factor or a divisor, as in `factor`."""

    @model_validator(mode="after")
    def _fits(self) -> ScaleRegister:
        if self.address.table.bits:
            raise ValueError(f"{self.address} is one bit; a scale factor is in a holding or input register")
        allowed = [Raw.INT16, Raw.UINT16, Raw.INT32, Raw.UINT32]
        if self.kind in {ScaleKind.FACTOR, ScaleKind.DIVISOR}:
            allowed += FLOATS
        if self.raw not in allowed:
            raise ValueError(f"a scale register of kind {self.kind} has raw: {', '.join(allowed)}, not {self.raw}")
        return self

    @property
    def size(self) -> int:
        """The number of registers."""
        return SHAPES[self.raw].registers

    @property
    def scaling(self) -> Scaling:
        """The function that scales a value."""
        return _SCALINGS[self.kind]


def _by_exponent(value: Any, exponent: int) -> Value | Fault:  # noqa: ANN401 - a number or a fault
    if type(value) is Fault:
        return value
    if exponent == NOT_IMPLEMENTED:
        return bad(Reason.NOT_AVAILABLE, "the device does not have the scale factor, 0x8000")
    if not -LARGEST_EXPONENT <= exponent <= LARGEST_EXPONENT:
        return bad(Reason.OUT_OF_RANGE, f"the scale factor is 10^{exponent}")
    # a division by a whole power is exact, but for one rounding: 6553 / 10 is 655.3
    return float(value * _POWERS[exponent]) if exponent >= 0 else float(value / _POWERS[-exponent])


def _by_decimals(value: Any, decimals: int) -> Value | Fault:  # noqa: ANN401 - a number or a fault
    if type(value) is Fault:
        return value
    if not 0 <= decimals <= LARGEST_EXPONENT:
        return bad(Reason.OUT_OF_RANGE, f"the scale register has {decimals} decimals")
    return float(value / _POWERS[decimals])


def _by_factor(value: Any, factor: float) -> Value | Fault:  # noqa: ANN401 - a number or a fault
    if type(value) is Fault:
        return value
    if factor == 0:
        return bad(Reason.OUT_OF_RANGE, "the scale factor is 0")
    return float(value * factor)


def _by_divisor(value: Any, divisor: float) -> Value | Fault:  # noqa: ANN401 - a number or a fault
    if type(value) is Fault:
        return value
    if divisor == 0:
        return bad(Reason.OUT_OF_RANGE, "the scale divisor is 0")
    return float(value / divisor)


_SCALINGS: dict[ScaleKind, Scaling] = {
    ScaleKind.EXPONENT: _by_exponent,
    ScaleKind.DECIMALS: _by_decimals,
    ScaleKind.FACTOR: _by_factor,
    ScaleKind.DIVISOR: _by_divisor,
}
