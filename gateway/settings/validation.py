"""Validation of a section: each error of pydantic becomes a problem that says what would be right, at its place."""

from __future__ import annotations

import re
from copy import deepcopy
from difflib import get_close_matches
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from gateway.settings.interpolation import has_variables
from gateway.settings.parameters import LITERAL
from gateway.settings.problems import likely_name, unknown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pydantic_core import ErrorDetails

    from gateway.settings.document import Document, Step

    Blame = Mapping[str, tuple[Document, tuple[Step, ...]]]
    """The places of keys in a section of several sources: the document, and the path above."""

M = TypeVar("M", bound=BaseModel)

_NO = {
    "int_type": "is not a whole number",
    "int_parsing": "is not a whole number",
    "int_from_float": "is not a whole number",
    "float_type": "is not a number",
    "float_parsing": "is not a number",
    "finite_number": "is not a finite number",
    "bool_type": "is not true or false",
    "bool_parsing": "is not true or false",
}
"""Kind of error -> message behind the written value."""

_SHAPES = {
    "model_type": "is not a mapping of keys to values",
    "dict_type": "is not a mapping of keys to values",
    "list_type": "is not a list",
    "tuple_type": "is not a list",
    "string_type": "is not text",
    "too_short": "is empty",
    **_NO,
}
"""Kind of error -> message for a value that is not repeated: a mapping, a list, or one that may be a secret."""

_NOT_REPEATED = frozenset({"model_type", "dict_type", "list_type", "tuple_type"})
"""Kinds whose input may be a secret, or large."""

_BOUNDS = {"le": "at most", "lt": "less than", "ge": "at least", "gt": "more than"}


def validate(
    model: type[M],
    document: Document,
    data: Any,  # noqa: ANN401 - what a user wrote
    path: Sequence[Step],
    blame: Blame | None = None,
) -> M | None:
    """Return the section, or None after reporting every problem of it at its place in the document."""
    if data is None and model.model_fields and any(f.is_required() for f in model.model_fields.values()):
        document.report(path, f"is missing; it needs {', '.join(_required(model))}")
        return None
    try:
        return model.model_validate({} if data is None else data)
    except ValidationError as error:
        texts = with_texts(error, document, data, path, blame)
        if texts is not None:
            return validate(model, document, texts, path, blame)
        explain(error, model, document, path, blame)
        return None


def with_texts(
    error: ValidationError,
    document: Document,
    data: Any,  # noqa: ANN401 - what a user wrote
    path: Sequence[Step],
    blame: Blame | None = None,
) -> Any:  # noqa: ANN401 - what a user wrote
    """Return data with the texts of values of variables that are wrong as numbers, None where there are none.

    `12` out of a variable is a number where a number is needed, and text where text is.
    """
    found: Any = None
    for detail in error.errors(include_url=False, include_context=False):
        location = detail["loc"]
        origin, above = (blame or {}).get(str(location[0]) if location else "", (document, tuple(path)))
        is_text = not location or not origin.texts or isinstance(detail["input"], str)
        text = None if is_text else origin.use_text((*above, *location))
        if text is not None:
            found = deepcopy(data) if found is None else found
            place = found
            for step in location[:-1]:
                place = place[step]
            place[location[-1]] = text
    return found


def usable(model: type[M], data: Any, context: object = None) -> M | None:  # noqa: ANN401 - what a user wrote
    """Return the section without the parts of it that are wrong, so that the rest can be looked at as well.

    None if the rest is not a section. Nothing is reported.
    """
    rest = deepcopy(data)
    try:
        return model.model_validate(rest, context=context)
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_context=False):
            _cut(rest, detail["loc"])
    try:
        return model.model_validate(rest, context=context)
    except ValidationError:
        return None


def _cut(data: Any, location: Sequence[Step]) -> None:  # noqa: ANN401 - what a user wrote
    """Remove the deepest part of `location` that is there."""
    if not location or not isinstance(data, dict) or location[0] not in data:
        return
    inner = data[location[0]]
    if len(location) > 1 and isinstance(inner, dict) and location[1] in inner:
        _cut(inner, location[1:])
    else:
        del data[location[0]]


def explain(
    error: ValidationError,
    model: type[BaseModel],
    document: Document,
    path: Sequence[Step],
    blame: Blame | None = None,
) -> None:
    """Report every problem of a validation at its place in the document, or at the place in `blame` of its key."""
    details = error.errors(include_url=False)
    slips = {slip for detail in details if (slip := _likely_field(detail, model)) is not None}
    for detail in details:
        location = detail["loc"]
        if detail["type"] == "missing" and location in slips:
            continue  # it is there, under the unknown key that is reported
        origin, above = (blame or {}).get(str(location[0]) if location else "", (document, tuple(path)))
        where = _place(origin, above, location)
        match detail["type"]:
            case "extra_forbidden":
                message = unknown("key", str(location[-1]), fields_at(model, location[:-1]))
            case "missing":
                where = [*where, *location[-1:]] if where[-1:] != [location[-1]] else where
                message = f"is missing{_example(model, location)}"
            case "model_type" | "dict_type":
                message = describe(detail) + _as_mapping(model, location, detail["input"])
            case _:
                message = _named(model, location, len(where) - len(above)) + describe(detail)
        origin.report(where, message)


def _likely_field(detail: ErrorDetails, model: type[BaseModel]) -> tuple[Step, ...] | None:
    """Return the location of the field that an unknown key is likely meant to be."""
    if detail["type"] != "extra_forbidden":
        return None
    *above, key = detail["loc"]
    likely = likely_name("key", str(key), sorted(fields_at(model, above)))
    return (*above, likely) if likely else None


def _example(model: type[BaseModel], location: Sequence[Step]) -> str:
    """Return how a missing key is written, by the example of its description; empty without one."""
    from gateway.settings.schema import field_texts  # noqa: PLC0415 - only after an error
    from gateway.settings.serialize import dump  # noqa: PLC0415 - imports this module

    key = str(location[-1])
    owners = [one for one in _models_at(model, location[:-1]) if key in one.model_fields]
    text = field_texts(owners[0]).get(key) if owners else None
    return f"; write it, as in {key}: {dump(text.examples[0], flow=True)}" if text and text.examples else ""


def _as_mapping(model: type[BaseModel], location: Sequence[Step], written: object) -> str:
    """Return how something else than a mapping is written as one."""
    if written is None:
        return ""
    owners = _models_at(model, location)
    if not owners and not _models_at(model, (*location, "")):
        return _example(model, location)
    if not owners:
        entries = isinstance(written, list) and written and all(isinstance(one, dict) for one in written)
        return "; write NAME: {...} for each" + (", in place of - name: NAME" if entries else "")
    needed = list(_required(owners[0])) or sorted(owners[0].model_fields)[:1]
    return f"; write {{{', '.join(f'{key}: ...' for key in needed)}}}"


def _place(document: Document, path: Sequence[Step], location: Sequence[Step]) -> list[Step]:
    """Follow a location as far as the document goes; pydantic adds steps of its own for unions."""
    where = list(path)
    for step in location:
        if not document.has([*where, step]):
            break
        where.append(step)
    return where


def _named(model: type[BaseModel], location: Sequence[Step], placed: int) -> str:
    """Return the name of a field that has no line of its own, as an option in a URL."""
    unplaced = [str(step) for step in location[placed : placed + 1]]
    return "".join(f"{step}: " for step in unplaced if step in fields_at(model, location[:placed]))


def _required(model: type[BaseModel]) -> Iterator[str]:
    return (name for name, field in model.model_fields.items() if field.is_required())


def fields_at(model: type[BaseModel], location: Sequence[Step]) -> set[str]:
    """Return the valid keys at a place below a model."""
    return {key for one in _models_at(model, location) for key in one.model_fields}


def _models_at(model: type[BaseModel], location: Sequence[Step]) -> list[type[BaseModel]]:
    found: list[Any] = [model]
    for step in location:
        found = [below for one in found for below in _below(one, step)]
    return [one for one in found if _is_model(one)]


def _below(annotation: Any, step: Step) -> Iterator[Any]:  # noqa: ANN401 - any annotation
    """Yield the annotations of the values under a key or index of an annotated value."""
    if _is_model(annotation):
        if (field := annotation.model_fields.get(str(step))) is not None:
            yield from _alternatives(field.annotation)
    elif get_origin(annotation) in {list, tuple, dict}:
        *_, last = (one for one in get_args(annotation) if one is not Ellipsis)  # of `tuple[Section, ...]`
        yield from _alternatives(last)


def _alternatives(annotation: Any) -> Iterator[Any]:  # noqa: ANN401 - any annotation
    if get_origin(annotation) is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif get_origin(annotation) in {Union, UnionType}:
        for argument in get_args(annotation):
            yield from _alternatives(argument)
    else:
        yield annotation


def _is_model(annotation: Any) -> bool:  # noqa: ANN401 - any annotation
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def describe(detail: ErrorDetails) -> str:
    """Return the message for one value. A value that may be a secret is not repeated."""
    kind, written = detail["type"], detail["input"]
    context: dict[str, Any] = detail.get("ctx", {})
    message = detail["msg"].removeprefix("Value error, ").replace(" or instance of ", " of ")
    if kind == "value_error":
        return message + _without_parameters(detail)
    if written is None and kind in _SHAPES:
        return "has no value"
    if kind in {"enum", "literal_error"} and not isinstance(written, str | int | float):
        return f"is a list or mapping; write one of {context['expected']}"
    if kind in _NOT_REPEATED or not isinstance(written, str | int | float):
        return _SHAPES.get(kind, message)
    return _describe_scalar(kind, written, context, message)


def _describe_scalar(kind: str, written: str | float, context: Mapping[str, Any], message: str) -> str:
    if kind == "string_type":
        return f"{_shown(written)} is not text; put it in quotes"
    if kind in _NO:
        return f"{_shown(written)} {_NO[kind]}{_correction(kind, written)}"
    if kind in {"enum", "literal_error"}:
        return _none_of(_shown(written), str(written), str(context["expected"]))
    for bound, words in _BOUNDS.items():
        if bound in context:
            return f"{_shown(written)} is out of range; write {words} {context[bound]:g}"
    return f"{message}, not {_shown(written)}"


def _shown(written: str | float) -> str:
    """Return a value as it is written in YAML."""
    return str(written).lower() if isinstance(written, bool) else repr(written)


_TRUTH = {
    "on": "true",
    "yes": "true",
    "y": "true",
    "1": "true",
    "off": "false",
    "no": "false",
    "n": "false",
    "0": "false",
}

_DECIMAL = re.compile(r"[-+]?\d*[.,]?\d+([eE][-+]?\d+)?")


def _correction(kind: str, written: str | float) -> str:
    """Return what to write instead of a value of the wrong type; empty where it is unclear."""
    text = str(written).strip()
    if kind in {"bool_type", "bool_parsing"}:
        likely = _TRUTH.get(text.lower(), text.lower() if text.lower() in {"true", "false"} else "")
        return f"; write {likely}" if likely else "; write true or false"
    if isinstance(written, bool) or (isinstance(written, str) and "${" in written):
        return _outside_of_factory(str(written)) if not isinstance(written, bool) else ""
    if isinstance(written, float):
        return "; write it without a decimal point" if written.is_integer() else ""
    if not isinstance(written, str) or not _DECIMAL.fullmatch(text):
        return ""
    number = text.replace(",", ".")
    whole = kind in {"int_type", "int_parsing", "int_from_float"}
    if whole and not re.fullmatch(r"[-+]?\d+", number):
        return ""
    reason = "with a decimal point" if "," in text else "without quotes"
    return f"; write {number}, {reason}"


def _outside_of_factory(written: str) -> str:
    """Return the hint for a variable where none is read: in a template."""
    if not has_variables(written):
        return ""
    return "; variables are for the files of a factory: in a template write a parameter, as in {base}"


def _without_parameters(detail: ErrorDetails) -> str:
    """Return the hint for a name in braces that was not filled in, since the template has no parameters."""
    written, last = detail["input"], detail["loc"][-1] if detail["loc"] else ""
    if last in {*LITERAL, "[key]"} or not isinstance(written, str) or not re.search(r"\{ *[a-z_(]", written):
        return ""
    return _outside_of_factory(written) or "; names in braces need parameters in the template, as in {base: 0}"


_FEW = 12
"""Values that are listed behind a likely value."""


def _none_of(shown: str, written: str, expected: str) -> str:
    """Return the message for a word outside a list such as `'bool', 'int' or 'float'`."""
    values = re.findall(r"'([^']*)'", expected)
    close = get_close_matches(written.lower(), {value.lower(): value for value in values}, n=1, cutoff=0.5)
    if not close:
        return f"{shown} is not a valid value; the values are {expected}"
    likely = next(value for value in values if value.lower() == close[0])
    more = f" Else the values are {expected}" if len(values) <= _FEW else ""
    return f"{shown} is not a valid value; did you mean {likely!r}?{more}"
