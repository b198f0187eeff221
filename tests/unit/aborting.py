"""The context of a call, as far as handlers end it with an error."""

from typing import NoReturn

import grpc


class Aborted(Exception):
    """The call was ended with this code."""


class AbortingContext:
    async def abort(self, code: grpc.StatusCode, details: str, metadata: tuple[tuple[str, str], ...]) -> NoReturn:
        raise Aborted(dict(metadata)["penstock-code"])
