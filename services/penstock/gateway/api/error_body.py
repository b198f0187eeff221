"""Errors as OpenAI clients expect them: a status and {"error": {message, type, param, code}}."""

from math import ceil

import orjson

from penstock.core.errors import InvalidRequest, Overloaded, PenstockError


class NotFound(InvalidRequest):
    """No such path, or not with this method."""

    code = "not_found"
    http_status = 404


class MethodNotAllowed(InvalidRequest):
    code = "method_not_allowed"
    http_status = 405


def error_body(error: PenstockError) -> bytes:
    """The JSON body; also what a stream that already began says before it ends."""
    param = error.param if isinstance(error, InvalidRequest) else None
    return orjson.dumps(
        {"error": {"message": error.message, "type": error.openai_type, "param": param, "code": error.code}}
    )


def error_headers(error: PenstockError) -> list[tuple[bytes, bytes]]:
    """Retry-After for those worth repeating, and what HTTP demands with 401."""
    if isinstance(error, Overloaded):
        return [(b"retry-after", b"%d" % max(1, ceil(error.retry_after_s)))]
    if error.http_status == 401:
        return [(b"www-authenticate", b"Bearer")]
    return []
