"""One setting: its declaration, and its value read from the text of a flag, a variable or a YAML file."""

import math
import re
from collections.abc import Callable
from dataclasses import Field, dataclass, field
from typing import Any, TypeVar, get_origin

from penstock.core.errors import InvalidSettings

Value = TypeVar("Value")

_MULTIPLES = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4, "ki": 2**10, "mi": 2**20, "gi": 2**30}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?", re.IGNORECASE)
_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True)
class Constraint:
    """What a value must be, beyond its type, and what it means."""

    meaning: str
    choices: tuple[str, ...] = ()
    minimum: float = -math.inf
    maximum: float = math.inf
    is_secret: bool = False


def setting(
    default: Value,
    meaning: str,
    *,
    choices: tuple[str, ...] = (),
    minimum: float = -math.inf,
    maximum: float = math.inf,
    is_secret: bool = False,
) -> Value:
    """Declare a field of a settings dataclass."""
    return field(default=default, metadata={"constraint": Constraint(meaning, choices, minimum, maximum, is_secret)})


def generated(default: Callable[[], Value], meaning: str) -> Value:
    """Declare a field whose default differs from process to process."""
    return field(default_factory=default, metadata={"constraint": Constraint(meaning)})


def constraint_of(declared: Field[Any]) -> Constraint:
    constraint = declared.metadata["constraint"]
    assert isinstance(constraint, Constraint)
    return constraint


def parse(declared: Field[Any], raw: object) -> object:
    """The typed value of `raw`; raises InvalidSettings with the key, the value and the reason."""
    constraint = constraint_of(declared)
    shown = "***" if constraint.is_secret else raw
    try:
        value = _parsed(declared, raw)
    except (ValueError, TypeError) as error:
        raise InvalidSettings(declared.name, shown, str(error)) from error
    if isinstance(value, int | float) and not constraint.minimum <= value <= constraint.maximum:
        raise InvalidSettings(declared.name, shown, _range(constraint))
    wrong = [item for item in (value if isinstance(value, tuple) else (value,)) if item not in constraint.choices]
    if constraint.choices and wrong:
        raise InvalidSettings(declared.name, shown, f"must be one of {', '.join(constraint.choices)}")
    return value


def _range(constraint: Constraint) -> str:
    if constraint.maximum == math.inf:
        return f"must be at least {constraint.minimum:.15g}"
    return f"must be from {constraint.minimum:.15g} to {constraint.maximum:.15g}"


def _parsed(declared: Field[Any], raw: object) -> object:
    if get_origin(declared.type) is tuple:
        items = raw if isinstance(raw, list | tuple) else str(raw).split(",")
        return tuple(str(item).strip() for item in items if str(item).strip())
    if isinstance(raw, list | dict) or raw is None:
        raise ValueError(f"must be a single value, not {type(raw).__name__}")
    text = str(raw).strip()
    if declared.type is bool:
        return _boolean(text)
    if declared.type is int:
        return _size(text) if declared.name.endswith("_bytes") else _integer(text)
    return _number(text) if declared.type is float else text


def _boolean(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise ValueError("must be true or false")
    return _BOOLEANS[text.lower()]


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("must be a whole number") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("must be a number") from None


def _size(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None or match[2].lower() not in _MULTIPLES:
        raise ValueError("must be a number of bytes such as 1073741824, 512MiB or 4GiB")
    return int(float(match[1]) * _MULTIPLES[match[2].lower()])
