"""The error tree: every leaf tells apart, and what crosses processes can be made again there."""

import inspect
import pickle
from typing import Any

import pytest

from penstock.core import errors
from penstock.core.errors import WIRE_ERRORS, InternalError, InvalidRequest, Overloaded, PenstockError, Refused

ALL = [error for error in vars(errors).values() if inspect.isclass(error) and issubclass(error, PenstockError)]
ABSTRACT = {PenstockError}
ARGUMENTS: dict[type[PenstockError], tuple[object, ...]] = {  # of those that are not made from one sentence
    errors.UnsupportedParameter: ("n", "only 1 is supported"),
    errors.ContextTooLong: (5000, 4096),
    errors.InvalidImage: ("messages[0].content[1].image_url", "it is broken"),
    errors.ModelNotFound: ("x", "y"),
    errors.Overloaded: ("Busy.", 3.0),
    errors.InvalidSettings: ("port", 70000, "too large"),
}


def test_codes_are_unique() -> None:
    codes = [error.code for error in ALL if error not in ABSTRACT]
    assert len(codes) == len(set(codes))


def test_every_error_is_in_the_picture_with_its_status() -> None:
    picture = {line.split()[-2]: line.split()[-1] for line in _picture_lines()}
    for error in ALL:
        if error is not PenstockError:
            assert picture[error.__name__] == str(error.http_status)


def _picture_lines() -> list[str]:
    assert errors.__doc__ is not None
    lines = [line.split("─ ")[1] for line in errors.__doc__.splitlines() if "─ " in line]
    return [" ".join(line.split()[:2]) for line in lines]


@pytest.mark.parametrize("code", WIRE_ERRORS)
def test_every_wire_error_is_made_from_one_sentence(code: str) -> None:
    error = WIRE_ERRORS[code]("What happened.")
    assert (error.code, error.message, str(error)) == (code, "What happened.", "What happened.")


def test_every_refusal_crosses_the_wire_as_itself() -> None:
    refusals = [error for error in ALL if issubclass(error, Refused)]
    assert len(refusals) > 5
    assert all(WIRE_ERRORS[error.code] is error for error in refusals)


def test_a_code_that_is_made_from_more_than_a_sentence_does_not_cross() -> None:
    assert not {error.code for error in ALL if issubclass(error, InvalidRequest | Overloaded)} & WIRE_ERRORS.keys()
    assert WIRE_ERRORS["internal_error"] is InternalError


def test_client_errors_name_parameter_and_numbers() -> None:
    assert errors.UnsupportedParameter("n", "only 1 is supported").param == "n"
    too_long = errors.ContextTooLong(5000, 4096)
    assert "5000" in too_long.message
    assert "4096" in too_long.message
    assert "'x'" in errors.ModelNotFound("x", "y").message
    assert errors.Overloaded("Busy.", retry_after_s=3.0).retry_after_s == 3.0
    assert "port=70000" in errors.InvalidSettings("port", 70000, "too large").message


@pytest.mark.parametrize("made", ALL)
def test_every_error_comes_whole_out_of_another_process(made: Any) -> None:
    error = made(*ARGUMENTS.get(made, ("What happened.",)))
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
