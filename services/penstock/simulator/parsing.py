"""Plain data (YAML, JSON) into frozen dataclasses, at the door: what is unknown or of a wrong type is refused."""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from penstock.core.errors import InvalidSettings

Parsed = TypeVar("Parsed")


def parse(kind: type[Parsed], raw: object, path: str = "") -> Parsed:
    """`raw` as an instance of the dataclass `kind`; `path` is where it stands in its file. Raises InvalidSettings."""
    if not isinstance(raw, Mapping):
        raise InvalidSettings(path or "file", raw, "must be a mapping of keys to values")
    types = get_type_hints(kind)
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    unknown = [key for key in raw if key not in names]
    if unknown:
        raise InvalidSettings(
            _join(path, str(unknown[0])), raw[unknown[0]], f"no such key; there are {', '.join(names)}"
        )
    values = {name: _value(types[name], raw[name], _join(path, name)) for name in names if name in raw}
    try:
        return kind(**values)
    except TypeError:
        missing = [field.name for field in fields(kind) if field.name not in raw]  # type: ignore[arg-type]
        raise InvalidSettings(path or "file", dict(raw), f"lacks a key; not given are {', '.join(missing)}") from None


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _value(kind: Any, raw: object, path: str) -> object:
    if get_origin(kind) in (Union, UnionType):
        if raw is None:
            return None
        kind = next(option for option in get_args(kind) if option is not NoneType)
    if get_origin(kind) is Mapping:
        return _mapping(get_args(kind), raw, path)
    if get_origin(kind) is tuple:
        if not isinstance(raw, list):
            raise InvalidSettings(path, raw, "must be a list")
        return tuple(_value(get_args(kind)[0], item, f"{path}.{index}") for index, item in enumerate(raw))
    if is_dataclass(kind) and isinstance(kind, type):
        return parse(kind, raw, path)
    if isinstance(kind, type) and issubclass(kind, Enum):
        choices = [option.value for option in kind]
        if raw not in choices:
            raise InvalidSettings(path, raw, f"must be one of {', '.join(map(str, choices))}")
        return kind(raw)
    return _SIMPLE[kind](raw, path)


def _mapping(kinds: tuple[Any, ...], raw: object, path: str) -> dict[object, object]:
    if not isinstance(raw, Mapping):
        raise InvalidSettings(path, raw, "must be a mapping of keys to values")
    return {_value(kinds[0], key, path): _value(kinds[1], value, _join(path, str(key))) for key, value in raw.items()}


def _boolean(raw: object, path: str) -> bool:
    if not isinstance(raw, bool):
        raise InvalidSettings(path, raw, "must be true or false")
    return raw


def _text(raw: object, path: str) -> str:
    if isinstance(raw, Mapping | list | NoneType):
        raise InvalidSettings(path, raw, "must be text")
    return str(raw)


def _integer(raw: object, path: str) -> int:
    number = _number(raw, path)
    if number != int(number):
        raise InvalidSettings(path, raw, "must be a whole number")
    return int(number)


def _number(raw: object, path: str) -> float:
    """YAML reads 1e9 as text; it is meant as a number all the same."""
    if not isinstance(raw, bool) and isinstance(raw, int | float | str):
        try:
            number = float(raw)
        except ValueError:
            number = float("nan")
        if number >= 0:
            return number
    raise InvalidSettings(path, raw, "must be a number, not negative")


def _anything(raw: object, path: str) -> object:
    return raw


_SIMPLE: dict[Any, Callable[[object, str], object]] = {
    bool: _boolean,
    str: _text,
    int: _integer,
    float: _number,
    Any: _anything,
}
