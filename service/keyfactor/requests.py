"""What every route of the dialect does with a request before its operation, and how it reads parameters and bodies.

Names of parameters and of fields are taken in any case, parameters with the prefix of any list or without.
"""

from typing import Any, TypeVar
from uuid import UUID

import msgspec
from litestar import Response
from msgspec import inspect

from auth.basic import WRONG
from auth.bearer import token_hash
from auth.reach import Reach
from service.claims import Request_, Scopes, claim, credential, id_of, only_account, proving
from service.exchange import header
from service.keyfactor import basic
from service.keyfactor.errors import Code, Refused
from service.language.document import DocumentRefused
from service.language.texts import TEXT_LIMIT, parse_json
from tenancy.errors import BadRequest, FieldError, TooLarge, Unauthenticated

__all__ = [
    "Listing",
    "Request_",
    "body",
    "credential",
    "flag",
    "id_of",
    "listed",
    "listing",
    "number",
    "proving",
]

SCOPES = Scopes("keyfactor:read", "keyfactor:write")
READ, WRITE = SCOPES.read, SCOPES.write
PREFIXES = ("pq.", "instancequery.", "query.")
VERSIONS = ("", "1", "1.0", "2", "2.0")
REQUESTED_WITH = "x-keyfactor-requested-with"
API_VERSION = "x-keyfactor-api-version"
NO_PROOF = (
    "Nothing proves who calls: send the header Authorization, with Basic and base64 of ACCOUNT\\user:password or "
    "client_id:client_secret, or with Bearer and an access token."
)
PAGE_SIZE = 50
LARGEST_PAGE = 1000
LARGEST_NUMBER = 2**31 - 1
LONGEST_SORT = 100  # characters of a field's name

Kind = TypeVar("Kind")


class Listing(msgspec.Struct, frozen=True):
    """Which page of a list is asked for: a query, a page from 1, how many entries, by which field, which way round."""

    query: str | None = None
    page: int = 1
    limit: int = PAGE_SIZE
    sort: str | None = None
    descending: bool = False


def list_parameters(prefix: str) -> tuple[str, ...]:
    """Name the parameters of a list as the vendor's SDKs send them, for the document: `pq.queryString` and so on."""
    names = ("queryString", "pageReturned", "returnLimit", "sortField", "sortAscending")
    return tuple(f"{prefix}.{name}" for name in names)


async def only_known_clients(request: Request_) -> None:
    """Find the account of a request by its proof, then look whether it has the headers that every request has to have.

    Raises:
        Unauthenticated: no proof, or one that does not hold.
        BadRequest: the proof is good for several accounts.
        LimitReached: the account makes too many requests.
        Refused: no `x-keyfactor-requested-with`, or an unknown version.
    """
    if request.method == "OPTIONS":  # which tells methods, and nothing of anybody's
        return
    await claim(request, await token_of(request), SCOPES, account_of)
    async with proving(request):
        check_headers(request)


async def token_of(request: Request_) -> bytes:
    """Return the hash of the token that a request comes with, or of what its name and password are worth.

    Raises:
        Unauthenticated: neither, or what does not hold.
        BadRequest, TooManyAttempts: see `basic_token`.
    """
    sent = header(request.scope, b"authorization") or ""
    scheme = sent.partition(" ")[0].lower()
    if scheme == basic.SCHEME:
        return await basic.basic_token(request, sent, (READ, WRITE))
    if scheme != "bearer":
        raise Unauthenticated(NO_PROOF)
    return token_hash(sent)


def account_of(request: Request_, reach: Reach) -> UUID:
    """Say on which account a request is.

    Raises:
        Unauthenticated: whoever sent a password has none any more.
        BadRequest: its token is good for several.
    """
    if not reach.accounts and basic.was_used(request):
        raise Unauthenticated(WRONG)
    return only_account(
        reach, "use a token of one alone, or HTTP Basic with the account in front, as in ACCOUNT\\user."
    )


def check_headers(request: Request_) -> None:
    """Look whether a request has the headers of a client of this API.

    Raises:
        Refused: it has not.
    """
    if not (header(request.scope, REQUESTED_WITH.encode()) or "").strip():
        raise Refused(
            Code.CALLER, f"The header {REQUESTED_WITH} is missing: send APIClient or XMLHttpRequest in it."
        )
    version = (header(request.scope, API_VERSION.encode()) or "").strip()
    if version not in VERSIONS:
        raise Refused(Code.CALLER, f"The header {API_VERSION} is 1 or 2 where it is sent.")


def parameter(request: Request_, wanted: str) -> str | None:
    """Read a parameter of the query by its bare name, in any case, with any list's prefix; None where it is empty."""
    for name, value in request.query_params.multi_items():
        folded = name.lower()
        prefix = next((one for one in PREFIXES if folded.startswith(one)), "")
        if folded.removeprefix(prefix) == wanted.lower() and value != "":
            return str(value)
    return None


async def number(request: Request_, name: str, lowest: int = 1, highest: int = LARGEST_NUMBER) -> int | None:
    """Read a whole number in the query; None where there is none.

    Raises:
        Refused: it is no number between the two.
    """
    async with proving(request):
        return whole(request, name, lowest, highest)


def whole(request: Request_, name: str, lowest: int, highest: int, code: Code = Code.WRONG) -> int | None:
    """Read a whole number in the query; see `number`."""
    text = parameter(request, name)
    if text is None:
        return None
    digits = text.strip()
    if digits.isascii() and digits.isdigit() and len(digits) <= len(str(LARGEST_NUMBER)):
        found = int(digits)
        if lowest <= found <= highest:
            return found
    raise Refused(code, f"{name} must be a whole number from {lowest} to {highest}.")


async def flag(request: Request_, name: str) -> bool:
    """Read a switch in the query, `true` or `false` in any case; false where it is not there.

    Raises:
        Refused: it is neither.
    """
    async with proving(request):
        text = (parameter(request, name) or "false").strip().lower()
        if text not in ("true", "false"):
            raise Refused(Code.WRONG, f"{name} must be true or false.")
    return text == "true"


async def listing(request: Request_) -> Listing:
    """Read which page of a list is asked for. What the query and the sort field hold is for the list to look at.

    Raises:
        Refused: the page, the limit or the direction is none.
    """
    async with proving(request):
        sort = (parameter(request, "sortField") or "").strip() or None
        if sort is not None and len(sort) > LONGEST_SORT:
            raise Refused(Code.SORT_FIELD, "Invalid sort field: its name is too long.")
        return Listing(
            query=(parameter(request, "queryString") or "").strip() or None,
            page=whole(request, "pageReturned", 1, LARGEST_NUMBER, Code.PAGE) or 1,
            limit=whole(request, "returnLimit", 1, LARGEST_PAGE, Code.PAGE) or PAGE_SIZE,
            sort=sort,
            descending=whole(request, "sortAscending", 0, 1, Code.PAGE) == 1,
        )


def listed(entries: list[Kind], total: int) -> Response[list[Kind]]:
    """Answer a page of a list, and in its header how many entries all pages have."""
    return Response(entries, headers={"x-total-count": str(total)})


async def body(request: Request_, kind: Any) -> Any:
    """Read a JSON body as a type; names of the fields of structs are taken in any case.

    Raises:
        TooLarge: over 256 KiB.
        BadRequest: it is no JSON, or not of this type.
    """
    async with proving(request):
        return as_kind(await request.body(), kind)


def as_kind(text: bytes, kind: Any) -> Any:
    """Decode a body; see `body`."""
    if len(text) > TEXT_LIMIT:
        raise TooLarge(f"A body has at most {TEXT_LIMIT // 1024} KiB.")
    try:
        value = parse_json(text)
        return msgspec.convert(folded(value, inspect.type_info(kind)), kind)
    except DocumentRefused as error:
        told = tuple(FieldError(one.code, one.message, one.pointer or None) for one in error.problems)
        raise BadRequest("The body cannot be read.", errors=told) from None
    except msgspec.ValidationError as error:
        raise BadRequest(f"The body cannot be read: {error}.") from None


def folded(value: Any, kind: inspect.Type) -> Any:
    """Give the fields of a struct the names that it has for them, in whatever case they came; free objects stay as they are."""
    if isinstance(kind, inspect.UnionType):
        wanted = (
            inspect.StructType if isinstance(value, dict) else inspect.ListType,
            inspect.DictType if isinstance(value, dict) else inspect.ListType,
        )
        return next((folded(value, one) for one in kind.types if isinstance(one, wanted)), value)
    if isinstance(kind, inspect.ListType) and isinstance(value, list):
        return [folded(one, kind.item_type) for one in value]
    if isinstance(kind, inspect.DictType) and isinstance(value, dict):
        return {name: folded(one, kind.value_type) for name, one in value.items()}
    if not (isinstance(kind, inspect.StructType) and isinstance(value, dict)):
        return value
    fields = {field.encode_name.lower(): field for field in kind.fields}
    return {
        fields[name.lower()].encode_name: folded(one, fields[name.lower()].type)
        for name, one in value.items()
        if name.lower() in fields
    }
