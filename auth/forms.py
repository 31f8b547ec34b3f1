"""Reads forms and query strings strictly: one meaning each, or none at all."""

from typing import Any
from urllib.parse import parse_qsl

from litestar import Request

from tenancy.errors import BadRequest

LARGEST_FORM = 65_536  # bytes
MOST_FIELDS = 64
MEDIA_TYPE = "application/x-www-form-urlencoded"


async def form_of(request: Request[Any, Any, Any]) -> dict[str, str]:
    """Read a request's body as a form.

    Raises:
        BadRequest: another content type, or see `form`.
    """
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != MEDIA_TYPE:
        raise BadRequest(f"Send the parameters in the body, as {MEDIA_TYPE}.")
    return form(await request.body())


def form(text: bytes) -> dict[str, str]:
    """Parse form-encoded bytes, a query string as well; parameters without a value count as left out (RFC 6749, 3.1).

    Raises:
        BadRequest: too large, not UTF-8, with NUL characters, or with a repeated parameter.
    """
    if len(text) > LARGEST_FORM:
        raise BadRequest(f"The parameters are larger than {LARGEST_FORM} bytes.")
    try:
        pairs = parse_qsl(text.decode("ascii"), errors="strict", max_num_fields=MOST_FIELDS)
    except ValueError:  # not ASCII, escapes that are no UTF-8, or too many fields
        raise BadRequest(
            f"The parameters are not at most {MOST_FIELDS} percent-encoded UTF-8 fields."
        ) from None
    found = dict(pairs)
    if len(found) < len(pairs):
        raise BadRequest("A parameter is repeated.")
    if any("\0" in part for pair in pairs for part in pair):
        raise BadRequest("The parameters hold NUL characters.")
    return found
