"""Which secrets a piece of jq reads."""

from typing import Any

import jq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.language.secrets import names_used, reads_secrets


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("$secrets.token", ["token"]),
        ("$secrets . token", ["token"]),
        ("$secrets.login.password", ["login"]),
        ('$secrets["my key"]', ["my key"]),
        ('$secrets.["a"] + $secrets."b"', ["a", "b"]),
        ('"Bearer \\($secrets.a + (.x | "\\($secrets.b)"))" + $secrets.c', ["a", "b", "c"]),
        ('@base64 "\\($secrets.a)"', ["a"]),
        ("$secrets", [None]),
        ("$secrets[.name]", [None]),
        ('$secrets["a\\(.x)"]', [None]),
        ("$secrets | .a", [None]),
        ("$secrets as $x | $x.a", [None]),
        ("$secrets?.a", [None]),
        ("$secretsx.a + $secrets_.a", []),
        ('"$secrets.a"', []),
        ('"\\"$secrets.a"', []),
        ("1 # $secrets.a", []),
        ("1 # \\\n $secrets.a", []),
        ("1 # \\\\\n + $secrets.a", ["a"]),
        ("(1)) + $secrets.a", ["a"]),
        ("", []),
    ],
)
def test_the_names_are_told_from_the_text(text: str, names: list[str | None]) -> None:
    assert list(names_used(text)) == names


@pytest.mark.parametrize(
    ("value", "reads"),
    [
        ("$secrets.a", True),
        ("${ $secrets.a }", True),
        ({"x": [{"y": "${ $secrets.a }"}]}, True),
        ({"x": "$secrets.a"}, False),
        ({"x": [1, None]}, False),
        (None, False),
        (5, False),
    ],
)
def test_a_projection_reads_secrets_where_it_has_jq_that_does(value: Any, reads: bool) -> None:  # noqa: FBT001 - a case
    assert reads_secrets(value) is reads


PIECES = st.sampled_from(
    [
        *(
            "$secrets",
            "$secrets.a",
            '"',
            "\\(",
            "(",
            ")",
            "\\",
            "\n",
            "#",
            " ",
            ".a",
            "[",
            "]",
            "|",
            "+",
            ",",
        ),
        *("1", '"x"', '"\\($secrets.a)"', "@text ", "$secretsx", "as", "$x", "\r", "\\\\", "{", "}"),
    ]
)


@given(st.lists(PIECES, max_size=12).map("".join))
@settings(max_examples=500, deadline=None)
def test_no_use_is_missed_that_jq_would_see(text: str) -> None:
    """What compiles only where `$secrets` is there is text that reads it."""
    if compiles(text, "1 as $secrets | 1 as $x | 1 as $secretsx |") and not compiles(
        text, "1 as $x | 1 as $secretsx |"
    ):
        assert list(names_used(text))


def compiles(text: str, before: str) -> bool:
    try:
        jq.compile(f"{before}\n{text}")
    except ValueError:
        return False
    return True
