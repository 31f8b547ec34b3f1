"""The OpenAPI documents in `openapi/`, generated from the routes, committed, compared byte for byte.

They stay within what client generators accept: one tag and one request media type for each operation, named schemas, no
`nullable`, no null among the values of an enumeration. What the code cannot say of a dialect stands in its module here.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from service.openapi.formance import formance_document
from service.openapi.keyfactor import keyfactor_document
from service.openapi.maestro import maestro_document
from service.openapi.oauth import oauth_document
from tenancy.errors import SetupRefused

FOLDER = Path(__file__).resolve().parents[2] / "openapi"


def documents() -> dict[str, Callable[[], dict[str, Any]]]:
    """Name every document and what makes it."""
    return {
        "maestro.json": maestro_document,
        "oauth.json": oauth_document,
        "formance.json": formance_document,
        "keyfactor.json": keyfactor_document,
    }


def write_documents() -> list[str]:
    """Write all documents; return their names."""
    FOLDER.mkdir(exist_ok=True)
    for name, make in documents().items():
        (FOLDER / name).write_bytes(encoded(make()))
    return sorted(documents())


def check_documents() -> list[str]:
    """Return the names of documents that are missing or not what the code says.

    Raises:
        SetupRefused: a document is not valid OpenAPI 3.1.
    """
    stale = []
    for name, make in documents().items():
        document = make()
        for problem in problems(document):
            raise SetupRefused(f"{name} is not valid: {problem}")
        path = FOLDER / name
        if not path.exists() or path.read_bytes() != encoded(document):
            stale.append(name)
    return stale


def problems(document: dict[str, Any]) -> Iterator[str]:
    """Tell what makes a document invalid OpenAPI 3.1.

    Raises:
        SetupRefused: the validator is not there.
    """
    try:  # the validator is a tool of developers: an installation that only serves does not have it
        from openapi_spec_validator import OpenAPIV31SpecValidator  # noqa: PLC0415
    except ImportError:
        raise SetupRefused("The check needs the development packages; run: make install") from None
    for error in OpenAPIV31SpecValidator(document).iter_errors():
        yield error.message


def encoded(document: dict[str, Any]) -> bytes:
    """Write a document as it is committed."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
