"""The standard's own errors, their spellings, and the pointers that say where they happened."""

import msgspec
import pytest

from service.language.errors import STANDARD, below, canonical, fault


def test_a_standard_fault_has_its_type_and_status() -> None:
    assert msgspec.to_builtins(fault("timeout", "Too late", None, "/do/0/a")) == {
        "type": "https://serverlessworkflow.io/spec/1.0.0/errors/timeout",
        "status": 408,
        "title": "Too late",
        "instance": "/do/0/a",
    }
    assert fault("communication", "Not Found", "gone", "/", 404).status == 404


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("https://serverlessworkflow.io/dsl/errors/types/communication", STANDARD + "communication"),
        ("http://serverlessworkflow.io/errors/types/timeout", STANDARD + "timeout"),
        ("https://serverlessworkflow.io.io/spec/1.0.1/errors/runtime", STANDARD + "runtime"),
        (STANDARD + "validation", STANDARD + "validation"),
        (
            "https://serverlessworkflow.io/errors/types/compliance",
            "https://serverlessworkflow.io/errors/types/compliance",
        ),
        ("https://example.com/errors/types/timeout", "https://example.com/errors/types/timeout"),
    ],
)
def test_aliases_of_the_standard_types_are_one_type(written: str, meant: str) -> None:
    assert canonical(written) == meant


def test_pointers_escape_names() -> None:
    assert below("/do", 0, "a/b~c") == "/do/0/a~1b~0c"
