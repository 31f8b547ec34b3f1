"""What every refusal of the dialect looks like, whatever was wrong."""

import httpx

from tests.maestro.errors import LEAKS

CODES = {404: "NOT_FOUND", 429: "INTERNAL", 500: "INTERNAL", 503: "INTERNAL"}


def assert_refused(response: httpx.Response, status: int) -> str:
    """Hold an answer against the dialect's error body, as the strictest SDK would; return what it says."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert body.keys() - {"details"} == {"errorCode", "errorMessage"}
    assert body["errorCode"] == CODES.get(status, "VALIDATION")
    assert all(isinstance(value, str) and value for value in body.values())
    assert not [leak for leak in LEAKS if leak in response.text]
    message: str = body["errorMessage"]
    return message
