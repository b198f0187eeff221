"""Every error Penstock reports, drawn once.

    PenstockError
    ├── InvalidRequest                400   the client must change something
    │   ├── UnsupportedParameter      400
    │   ├── ContextTooLong            400
    │   ├── InvalidImage              400
    │   ├── ModelNotFound             404
    │   └── RequestTooLarge           413
    ├── NotAuthenticated              401
    ├── Overloaded                    429   try again later; carries retry_after_s
    │   └── DeadlineExceeded          429
    ├── Refused                       503   one worker's no; the gateway tries the next
    │   ├── QueueFull                 503
    │   ├── BlocksExhausted           503
    │   ├── Draining                  503
    │   ├── IncarnationMismatch       503
    │   ├── StaleAttempt              503
    │   └── UnknownReservation        503
    ├── ChangeRefused                 409   the cluster cannot be changed as asked
    ├── WorkerLost                    503   the gateway resumes elsewhere
    ├── NoWorkers                     503
    ├── TransferFailed                503   KV or embeddings did not arrive whole
    │   ├── ChecksumMismatch          503
    │   └── TransportUnavailable      503
    ├── RequestCancelled              499
    ├── InvalidSettings               500   stops a process at start
    ├── UnsupportedModel              500
    ├── UnreadableImage               500   why an image cannot be had; the gateway's InvalidImage says of which
    └── InternalError                 500

Each leaf has a `code` (metric label and wire code), an `http_status`, an OpenAI `type`, and makes a sentence that its
reader can act on.
"""

from typing import Any, ClassVar


class PenstockError(Exception):
    """Base of the tree. `message` is one sentence for whoever can act on it."""

    code: ClassVar[str] = "internal_error"
    http_status: ClassVar[int] = 500
    openai_type: ClassVar[str] = "server_error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __reduce__(self) -> tuple[Any, ...]:
        # as it is: a leaf's __init__ makes the sentence of other arguments, and would make it of the sentence
        return Exception.__new__, (type(self), *self.args), self.__dict__


class InvalidRequest(PenstockError):
    code = "invalid_request"
    http_status = 400
    openai_type = "invalid_request_error"

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class UnsupportedParameter(InvalidRequest):
    code = "unsupported_parameter"

    def __init__(self, param: str, reason: str) -> None:
        super().__init__(f"Unsupported parameter '{param}': {reason}.", param)


class ContextTooLong(InvalidRequest):
    code = "context_length_exceeded"

    def __init__(self, num_tokens: int, max_tokens: int, param: str = "messages") -> None:
        super().__init__(
            f"This model's maximum context length is {max_tokens} tokens, but the request needs {num_tokens} tokens. "
            "Shorten the prompt or lower max_tokens.",
            param,
        )


class InvalidImage(InvalidRequest):
    code = "invalid_image"

    def __init__(self, param: str, reason: str) -> None:
        super().__init__(f"The image in '{param}' cannot be used: {reason}.", param)


class ModelNotFound(InvalidRequest):
    code = "model_not_found"
    http_status = 404

    def __init__(self, model: str, served: str) -> None:
        super().__init__(f"The model '{model}' does not exist here; this gateway serves '{served}'.", "model")


class RequestTooLarge(InvalidRequest):
    code = "request_too_large"
    http_status = 413


class NotAuthenticated(PenstockError):
    code = "invalid_api_key"
    http_status = 401
    openai_type = "authentication_error"


class Overloaded(PenstockError):
    code = "overloaded"
    http_status = 429
    openai_type = "rate_limit_error"

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(Overloaded):
    code = "deadline_exceeded"


class Refused(PenstockError):
    """A worker's immediate no. Never shown to a client unless every candidate says it."""

    code = "refused"
    http_status = 503


class QueueFull(Refused):
    code = "queue_full"


class BlocksExhausted(Refused):
    code = "blocks_exhausted"


class Draining(Refused):
    code = "draining"


class IncarnationMismatch(Refused):
    code = "incarnation_mismatch"


class StaleAttempt(Refused):
    code = "stale_attempt"


class UnknownReservation(Refused):
    code = "unknown_reservation"


class ChangeRefused(PenstockError):
    """To an operator: a pool or a role cannot be changed as asked; nothing was done."""

    code = "change_refused"
    http_status = 409


class WorkerLost(PenstockError):
    code = "worker_lost"
    http_status = 503


class NoWorkers(PenstockError):
    code = "no_workers"
    http_status = 503


class TransferFailed(PenstockError):
    code = "transfer_failed"
    http_status = 503


class ChecksumMismatch(TransferFailed):
    code = "checksum_mismatch"


class TransportUnavailable(TransferFailed):
    code = "transport_unavailable"


class RequestCancelled(PenstockError):
    code = "request_cancelled"
    http_status = 499


class InvalidSettings(PenstockError):
    code = "invalid_settings"

    def __init__(self, key: str, value: object, reason: str) -> None:
        super().__init__(f"Bad setting {key}={value!r}: {reason}.")


class UnsupportedModel(PenstockError):
    code = "unsupported_model"


class UnreadableImage(PenstockError):
    code = "unreadable_image"


class InternalError(PenstockError):
    code = "internal_error"


def _tree(root: type[PenstockError]) -> list[type[PenstockError]]:
    return [root, *(error for child in root.__subclasses__() for error in _tree(child))]


_WIRE_ROOTS = (
    *(Refused, ChangeRefused, TransferFailed, WorkerLost, NoWorkers, RequestCancelled),
    *(UnreadableImage, InternalError),
)

WIRE_ERRORS: dict[str, type[PenstockError]] = {error.code: error for root in _WIRE_ROOTS for error in _tree(root)}
"""Code to error, for those that cross process boundaries as themselves; all are made from one sentence."""
