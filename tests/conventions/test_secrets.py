"""No secret is in the tree: nothing that looks like one, but for what is listed with its reason."""

import re
from collections.abc import Iterator

import pytest

from tests.conventions.sources import Source, texts

# What issuers publish of the form of theirs, and what any secret looks like where it is written down.
FORMS = {
    "a private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----",
    "an AWS key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a GitHub token": r"\b(?:gh[pousr]_\w{36}|github_pat_\w{22})",
    "a GitLab token": r"glpat-[\w-]{20}",
    "a Slack token": r"xox[abeprs]-[\w-]{10,}",
    "a Google key": r"AIza[\w-]{35}",
    "a Stripe key": r"\b[rs]k_live_\w{16,}",
    "a package registry's token": r"\bnpm_\w{36}|\bpypi-AgEI[\w-]{20,}",
    "a key of a model's provider": r"\bsk-[\w-]{20,}",
    "a signed token": r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}",
    "a bearer token": r"Bearer [\w.~+/-]{24,}",
    "a password in a URL": r"://[^\s/:@'\"`{}<>]+:[^\s/:@'\"`{}<>]+@[\w\[]",
    "a secret that is assigned": r"(?i)(?:secret|token|password|key)[\"']?\s*[:=]\s*[\"'][A-Za-z0-9+/_-]{32,}={0,2}[\"']",
}
FOUND = {name: re.compile(form) for name, form in FORMS.items()}
# What looks like one and is none, and why.
ALLOWED = {
    ":password@": "a word in an example",
    ":word@": "a word in an example",
    ":one@db.example/": "a word in an example",
    ":two@db.example/": "a word in an example",
    "ann:pw@": "a word in a test",
    "u%40a:p%2Fq@": "a word in a test",
    "u:p@x": "a word in a test",
    "127.0.0.1:51004@evil": "an address in disguise, which a test has refused",
    "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed": "the id of a client in the documents, which is public",
    "rW5uS2hbt1pD0jXc8yqLkOa3vEfGm6NzTiU4PwQxYsA": "a client's secret in the documents, made for them",
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw": "a webhook's secret in the documents, the one that the standard publishes",
    "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJhIn0.c2lnbmVk": "an assertion in the documents, whose signature is the word signed",
    "mF9-B5f4JqMvZ0k1sQ3x8Y7w6V5u4T3s2R1q0P9o8N0": "an access token in the documents, after that of RFC 6750",
    "tGzv3JOkF0XG5Qx2TlKWIAZ9y8X7w6V5u4T3s2R1q0P": "a refresh token in the documents, after that of RFC 6749",
}


def looks_secret(source: Source) -> Iterator[tuple[str, int]]:
    """Name the forms of secrets that a text has, and in which lines; never what they are."""
    for name, form in FOUND.items():
        for found in form.finditer(source.text):
            if not any(allowed in source.text[found.start() : found.end() + 20] for allowed in ALLOWED):
                yield name, source.text.count("\n", 0, found.start()) + 1


def test_no_secret_is_in_the_tree() -> None:
    assert [(source.path, *found) for source in texts() for found in looks_secret(source)] == []


@pytest.mark.parametrize("allowed", ALLOWED)
def test_what_is_allowed_is_there(allowed: str) -> None:
    here = "tests/conventions/test_secrets.py"
    assert [source.path for source in texts() if allowed in source.text and source.path != here]


# Put together here, so that no file of ours holds one.
@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a private key", ("-----BEGIN EC PRIVATE", " KEY-----")),
        ("a private key", ("-----BEGIN PRIVATE", " KEY-----")),
        ("an AWS key", ("AKIA", "IOSFODNN7EXAMPLE")),
        ("a GitHub token", ("ghp_", "a1" * 18)),
        ("a GitLab token", ("glpat-", "a1" * 10)),
        ("a Slack token", ("xoxb-", "1234567890-abc")),
        ("a Google key", ("AIza", "Sy" + "a1" * 16 + "b")),
        ("a Stripe key", ("sk_live_", "a1" * 12)),
        ("a package registry's token", ("npm_", "a1" * 18)),
        ("a key of a model's provider", ("sk-", "proj-" + "a1" * 12)),
        ("a signed token", ("eyJhbGciOiJSUzI1NiJ9.", "eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl")),
        ("a bearer token", ("Authorization: Bearer ", "a1" * 16)),
        ("a password in a URL", ("postgresql://tutti:", "hunter2@db.internal/tutti")),
        ("a secret that is assigned", ("client_secret = '", "a1" * 21 + "'")),
    ],
)
def test_a_secret_is_found(name: str, parts: tuple[str, str]) -> None:
    assert (name, 2) in set(looks_secret(Source("service/app.py", f"x = 1\n{''.join(parts)}\n")))
