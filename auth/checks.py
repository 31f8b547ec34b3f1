"""Counts what bearer tokens were worth, by what came of it; README.md shows the figure among the others."""

from prometheus_client import Counter

TOKEN_CHECKS = Counter("tutti_token_checks", "Bearer tokens that were looked at", ["outcome"])
_counters: dict[int, Counter] = {}  # the library looks labels up in twice the time that counting takes
OUTCOMES = {200: "ok", 401: "unknown", 403: "scope", 404: "account", 1403: "role"}


def count_check(verdict: int) -> None:
    """Count a verdict of `enter_account`: whatever is no refusal is ok."""
    counter = _counters.get(verdict)
    if counter is None:
        counter = _counters[verdict] = TOKEN_CHECKS.labels(OUTCOMES.get(verdict, "ok"))
    counter.inc()
