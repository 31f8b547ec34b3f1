"""What every refusal of the dialect looks like, whatever was wrong."""

import re

import httpx

from service.keyfactor.errors import Code
from tests.maestro.errors import LEAKS

CODES = {
    401: Code.UNAUTHENTICATED,
    403: Code.FORBIDDEN,
    404: Code.NOT_FOUND,
    405: Code.METHOD,
    413: Code.TOO_LARGE,
    429: Code.TOO_MANY,
    500: Code.FAULT,
    503: Code.AWAY,
}


def assert_refused(response: httpx.Response, status: int, code: Code | None = None) -> str:
    """Hold an answer against the dialect's error body; return what it says."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-keyfactor-product-version"] == "10.5.0.0"
    body = response.json()
    assert body.keys() == {"ErrorCode", "Message"}
    assert re.fullmatch("0xA011[0-9A-F]{4}", body["ErrorCode"])
    wanted = code or CODES.get(status)
    assert body["ErrorCode"] == wanted if wanted else body["ErrorCode"] in list(Code)
    message: str = body["Message"]
    assert message
    assert not [leak for leak in LEAKS if leak in response.text]
    return message
