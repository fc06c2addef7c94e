"""What every route says about its answers, for `/openapi.json`."""

from collections.abc import Mapping

from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import SecurityRequirement

from tidings.server.api.errors import ErrorBody

#: Either of them.
SECURITY: list[SecurityRequirement] = [{"token": []}, {"api_key": []}]

_WORDS: Mapping[int, str] = {
    400: "The request is malformed; the message says where.",
    401: "No credentials, or wrong ones.",
    403: "These credentials do not suffice, or the thing may not be published by anybody.",
    404: "Nothing at this path.",
    405: "This path does not take this method; `Allow` says which it takes.",
    408: "The body did not come in time.",
    409: "The idempotency key was used before, for another publication.",
    413: "The body or the batch is too large.",
    415: "The body is not application/json.",
    417: "`Expect` asks for something other than 100-continue.",
    429: "Too many requests or connections; `Retry-After` says in how many seconds to come again.",
    431: "The request's head is too large.",
    500: "The server failed to do this; it was not the client's fault.",
    503: "Not now: shutting down, full, or too slow; `Retry-After` says when to come again.",
}

# What any request may meet, whatever its path.
_ALWAYS = (400, 404, 405, 408, 429, 431, 500, 503)

# What whoever must say who they are may meet.
_GUARDED = (401, 403)

# What whoever sends a body may meet. The front door bounds bodies that nobody asked for, too.
_WITH_BODY = (413, 415, 417)


def answers(*more: int, body: bool = False) -> dict[int, ResponseSpec]:
    """The refusals of a guarded route: those that any may give, and `more`."""
    statuses = {*_ALWAYS, *_GUARDED, *more, *(_WITH_BODY if body else ())}
    return {
        status: ResponseSpec(ErrorBody, generate_examples=False, description=_WORDS[status])
        for status in sorted(statuses)
    }
