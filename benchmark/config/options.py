"""What an option is: its type, range, default and a line of help, declared once, as a field of a pydantic model.

Errors, ``--help`` and the README's table all read these fields. Sections of the configuration are in ``schema``; a data
set declares its own options beside its reader, a method beside its search space.
"""

import math
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.fields import FieldInfo

from benchmark.common.suggest import choose
from benchmark.errors import InputError

Model = TypeVar("Model", bound="Options")
MOST = 2**31 - 1


class Options(BaseModel):
    """Options that belong together. Types are taken at their word: ``"3"`` and ``true`` are no whole numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    null_means: ClassVar[str] = ""
    """What is added to "or null" where an option may be null."""

    @field_validator("*", mode="before")
    @classmethod
    def _check_digits(cls, value: Any) -> Any:
        """A row has no room for more digits, and nothing here is so large but by a slip of the keyboard."""
        if isinstance(value, int | float) and MOST < abs(value) < math.inf:
            raise ValueError(f"{value} cannot be used; give a number of at most {MOST}")
        return value


def option(default: Any, help: str, *, accepts: str | None = None, **constraints: Any) -> Any:
    """A field: ``constraints`` are pydantic's (ge, gt, le, lt); ``accepts`` replaces the words made of them."""
    return Field(default, description=help, json_schema_extra={"accepts": accepts} if accepts else None, **constraints)


def parse(model: type[Model], values: Mapping[str, Any], prefix: str = "") -> Model:
    """The options that ``values`` say, defaults for the rest.

    Parameters
    ----------
    prefix : of the names in messages, such as ``"search."``.

    Raises
    ------
    InputError
        For the first option that is unknown, missing, or has a value that it does not take.
    """
    given = dict(values)
    for name, field in model.model_fields.items():
        nested = _nested(field)
        if nested and isinstance(given.get(name), Mapping):
            given[name] = parse(nested, given[name], f"{prefix}{name}.")
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise InputError(_message(model, given, error, prefix)) from None


def defaults(model: type[Options]) -> dict[str, Any]:
    """The defaults of a model's options as plain values; what has none is left out."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if not field.is_required():
            value = field.get_default(call_default_factory=True, validated_data={})
            found[name] = value.model_dump() if isinstance(value, Options) else value
    return found


@dataclass(frozen=True)
class Described:
    """One line of the table of options."""

    name: str
    value: str
    accepted: str
    help: str


def described(model: type[Options], values: Mapping[str, Any], prefix: str = "") -> Iterator[Described]:
    """Every option of a model that is in ``values``, with its value there; nested ones too."""
    for name, field in model.model_fields.items():
        nested = _nested(field)
        if name not in values:
            continue
        if nested:
            yield from described(nested, values[name], f"{prefix}{name}.")
        else:
            value = written(values[name])
            yield Described(f"{prefix}{name}", value, accepted(model, field), field.description or "")


def written(value: Any) -> str:
    """A value as it is written on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return f"[{','.join(map(written, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {written(inner)}" for key, inner in value.items()) + "}"
    return str(value)


def accepted(model: type[Options], field: FieldInfo) -> str:
    """What an option takes, in words."""
    extra = field.json_schema_extra
    said = extra.get("accepts") if isinstance(extra, dict) else None
    kinds = _alternatives(field.annotation)
    if float in kinds:
        kinds = tuple(kind for kind in kinds if kind is not int)
    words = (
        str(said)
        if said
        else " or ".join(dict.fromkeys(_words(kind, field) for kind in kinds if kind is not types.NoneType))
    )
    return f"{words}, or null{model.null_means}" if types.NoneType in kinds else words


def _nested(field: FieldInfo) -> type[Options] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Options) else None


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def _words(kind: Any, field: FieldInfo) -> str:
    if get_origin(kind) is Literal:
        values = [written(value) for value in get_args(kind)]
        return values[0] if len(values) == 1 else f"one of {', '.join(values)}"
    if get_origin(kind) is list:
        return "a list"
    if kind is bool:
        return "one of true, false"
    if kind is str:
        return "text"
    bounds = {
        name: value
        for part in field.metadata
        for name in ("ge", "gt", "le", "lt")
        if (value := getattr(part, name, None)) is not None
    }
    number = "a whole number" if kind is int else "a number"
    bound = {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in bounds.items()}
    low = f" of at least {bound['ge']}" if "ge" in bound else f" above {bound['gt']}" if "gt" in bound else ""
    high = f"at most {bound['le']}" if "le" in bound else f"below {bound['lt']}" if "lt" in bound else ""
    return f"{number}{low}{' and ' if low and high else ' ' if high else ''}{high}"


def _message(model: type[Options], given: Mapping[str, Any], error: ValidationError, prefix: str) -> str:
    first = error.errors()[0]
    if not first["loc"]:
        return str(first.get("ctx", {}).get("error", first["msg"]))
    key = str(first["loc"][0])
    name = f"{prefix}{key}"
    if first["type"] == "extra_forbidden":
        return f"unknown option {name}; {choose(key, model.model_fields, prefix)}"
    field = model.model_fields[key]
    if first["type"] == "value_error":
        return f"{name}: {first['ctx']['error']}"
    if first["type"] == "missing":
        return f"option {name} is missing; give {accepted(model, field)}"
    if given[key] is None and model.null_means:
        return f"{name} is null, but it is not searched; give a value such as {written(field.default)}"
    return f"{name}={written(given[key])} cannot be used; give {accepted(model, field)}"


# -- options of data sets and methods ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Blocks:
    """How many blocks the two encoders of a task have, and how many features the widest input of one has."""

    new: int
    old: int
    new_width: int
    old_width: int


class MethodOptions(Options):
    """Options of a method. One that is null is searched; a subclass in ``search_spaces/<method>.py`` declares them."""

    null_means: ClassVar[str] = " to search it"

    shared: ClassVar[tuple[str, ...]] = ()
    """Options that trials which are trained together must have in common."""

    @property
    def trained_together(self) -> int:
        """How many trials of a search are trained as one."""
        return 1

    @property
    def processes(self) -> int:
        """How many processes a trial is trained by."""
        return 1

    def check(self, config: Any, blocks: Blocks | None) -> None:
        """Raise InputError for options that, each right by itself, do not go together: with each other, with the rest
        of the configuration (a ``schema.Config``) or, once they are known, with the encoders' ``blocks``."""
