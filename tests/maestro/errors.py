"""What every refusal looks like, whatever was wrong."""

from datetime import UTC, datetime, timedelta

import httpx

# What only a program's inside would say.
LEAKS = (
    "Traceback",
    'File "',
    "asyncpg",
    "litestar",
    "msgspec",
    "SELECT ",
    "INSERT ",
    "relation ",
    "PostgreSQL",
)


def assert_refused(response: httpx.Response, status: int) -> list[dict[str, str]]:
    """Hold an answer against the dialect's error body; return its errors."""
    assert response.status_code == status, response.text
    media_type = response.headers["content-type"]
    assert media_type == "application/problem+json"
    body = response.json()
    assert body.keys() - {"errors"} == {
        *("error", "code", "timestamp"),
        *("type", "title", "status", "detail", "instance", "request_id"),
    }
    assert body["code"] == str(status)
    assert body["status"] == status
    assert body["error"] == body["detail"] != ""
    assert body["request_id"] == response.headers["x-request-id"]
    moment = datetime.fromisoformat(body["timestamp"])
    assert abs(datetime.now(UTC) - moment) < timedelta(minutes=1)
    assert not [leak for leak in LEAKS if leak in response.text]
    errors: list[dict[str, str]] = body.get("errors", [])
    for error in errors:
        assert error.keys() <= {"code", "message", "target"}
        assert error["code"].isupper() or error["code"].islower()
        assert error["message"]
    return errors


def targets(response: httpx.Response, status: int = 400) -> dict[str, str]:
    """Return the codes of a refusal's errors by what they are about."""
    return {error.get("target", ""): error["code"] for error in assert_refused(response, status)}
