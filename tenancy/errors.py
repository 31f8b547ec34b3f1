"""Refusals: what a caller may not have, said without knowing HTTP or any dialect.

    Refusal                 status, title, detail
    ├── BadRequest          400: the request is wrong; `errors` says where, one entry per field
    ├── Unauthenticated     401: no proof of who calls, or one that no longer holds
    ├── Forbidden           403: yours, but the scope or role is missing
    ├── NotFound            404: missing, or another account's: nobody can tell which
    ├── Conflict            409: the thing's present state does not allow it
    ├── TooLarge            413: over a documented limit
    ├── TooManyAttempts     429: of what may be a guess; `retry_after` says for how many seconds
    └── Unavailable         503: nothing was wrong with it, it cannot be served now; likewise

A class's docstring is its default message. Dialects turn a refusal into their own words and bodies.

    SetupRefused            the operator's mistake: the process stops with this one line
"""

import msgspec


class FieldError(msgspec.Struct, frozen=True):
    """One thing wrong with a request: a stable `code`, a `message` for people, the field or JSON Pointer it is about."""

    code: str
    message: str
    target: str | None = None


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not a fault of the program
    """The request was refused."""

    status = 400
    title = "Bad Request"

    def __init__(self, detail: str | None = None, *, errors: tuple[FieldError, ...] = ()) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip()
        self.errors = errors
        super().__init__(self.detail)


class BadRequest(Refusal):
    """The request is not valid; see errors."""


class Unauthenticated(Refusal):
    """The access token is unknown, expired or revoked; ask for a new one."""

    status = 401
    title = "Unauthorized"


class Forbidden(Refusal):
    """The access token lacks a scope or role that this operation needs."""

    status = 403
    title = "Forbidden"

    def __init__(self, detail: str | None = None, *, scopes: tuple[str, ...] = ()) -> None:
        super().__init__(detail)
        self.scopes = scopes


class NotFound(Refusal):
    """The requested resource could not be found."""

    status = 404
    title = "Not Found"


class Conflict(Refusal):
    """The request conflicts with the present state of the resource."""

    status = 409
    title = "Conflict"


class TooLarge(Refusal):
    """The request is larger than this service accepts."""

    status = 413
    title = "Content Too Large"


class TooManyAttempts(Refusal):
    """Too many attempts failed; wait and try again."""

    status = 429
    title = "Too Many Requests"

    def __init__(self, retry_after: int, detail: str | None = None) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class Unavailable(Refusal):
    """The service cannot serve the request just now; send it again in a few seconds."""

    status = 503
    title = "Service Unavailable"
    retry_after = 2


class SetupRefused(Exception):  # noqa: N818 - see Refusal
    """The service cannot run as it is set up."""
