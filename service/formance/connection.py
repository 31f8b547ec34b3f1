"""The stack that an account's `send` and `update` stages call: what an operator says of it, as the account's secret keeps it."""

import contextlib
from urllib.parse import SplitResult, urlsplit

from tenancy.errors import BadRequest

TOKEN_PATH = "/api/auth/oauth/token"  # noqa: S105 - where the stack's own clients ask for one, below the host


def connection(url: str, client_id: str, client_secret: str, token_url: str | None = None) -> dict[str, str]:
    """The value of the secret `formance`; the services' paths, such as `/api/ledger`, are below `url`.

    Tokens are had at `token_url`, or where the stack's own clients ask for them: at `/api/auth/oauth/token` of the host.

    Raises:
        BadRequest: an address is none, or something is missing.
    """
    stack = address(url, "--url")
    issuer = f"{stack.scheme}://{stack.netloc}{TOKEN_PATH}" if token_url is None else token_url
    tokens = address(issuer, "--token-url")
    if not client_id.strip() or not client_secret.strip():
        raise BadRequest("The client's id and its secret are both needed.")
    return {
        "url": stack.geturl().rstrip("/"),
        "token_authority": f"{tokens.scheme}://{tokens.netloc}",
        "token_path": tokens.path,
        "client_id": client_id.strip(),
        "client_secret": client_secret.strip(),
    }


def address(url: str, option: str) -> SplitResult:
    """An address without credentials, query and fragment, which would be lost or shown.

    Raises:
        BadRequest: it is none.
    """
    found = SplitResult("", "", "", "", "")
    with contextlib.suppress(ValueError):
        found = urlsplit(url.strip())
    if found.scheme not in ("http", "https") or not found.hostname:
        raise BadRequest(f"{option} has to be an address such as https://stack.example.")
    if "@" in found.netloc or found.query or found.fragment:
        raise BadRequest(f"{option} takes no user, query or fragment.")
    return found
