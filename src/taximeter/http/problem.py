"""Errors as RFC 9457 problem documents. Owns the one table of HTTP statuses."""

from collections.abc import Sequence

import msgspec

from taximeter.kernel import errors
from taximeter.kernel.errors import FieldError, TaximeterError

STATUS: dict[type[TaximeterError], int] = {
    errors.Invalid: 422,
    errors.Malformed: 400,
    errors.NotFound: 404,
    errors.NoTestClock: 404,
    errors.Conflict: 409,
    errors.AlreadyExists: 409,
    errors.IdempotencyConflict: 409,
    errors.InvalidState: 409,
    errors.ClockBackwards: 409,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.SetBySeller: 403,
    errors.ConfinedToPath: 403,
    errors.TooLarge: 413,
    errors.RateLimited: 429,
    errors.OverCapacity: 503,
    errors.TooSlow: 503,
    errors.Unavailable: 503,
}
TITLES = {
    400: "Bad request", 401: "Unauthorized", 403: "Forbidden", 404: "Not found",
    405: "Method not allowed", 409: "Conflict", 413: "Too large", 415: "Unsupported media type",
    422: "Invalid", 429: "Too many requests", 500: "Internal error", 503: "Unavailable",
}  # fmt: skip
CONTENT_TYPE = "application/problem+json"
ERRORS_MAX = 100


def problem(
    status: int, code: str, detail: str, request_id: str, fields: Sequence[FieldError] = ()
) -> bytes:
    """The body of an error answer."""
    return msgspec.json.encode(
        {
            "type": f"urn:taximeter:error:{code}",
            "title": TITLES.get(status, "Error"),
            "status": status,
            "code": code,
            "detail": detail,
            "errors": [
                {"path": f.path, "code": f.code, "detail": f.detail} for f in fields[:ERRORS_MAX]
            ],
            "request_id": request_id,
        }
    )


def problem_of(error: TaximeterError, request_id: str) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and further headers of the answer to `error`."""
    status = STATUS[type(error)]
    headers = {}
    if isinstance(error, errors.RateLimited | errors.OverCapacity | errors.Unavailable):
        headers["retry-after"] = str(error.fields.get("retry_after_s", 1))
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    code = error.code
    if isinstance(error, errors.Invalid) and len({f.code for f in error.errors}) == 1:
        code = error.errors[0].code
    return status, problem(status, code, error.detail, request_id, error.errors), headers
