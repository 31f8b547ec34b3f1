"""What is wrong with a value, in the words of JSON."""

from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pytest

from service.language.misfits import Misfit, misfit


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    kind: Literal["a", "b"] = "a"


class Value(msgspec.Struct, forbid_unknown_fields=True):
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=3)] | None = None
    number: Annotated[int, msgspec.Meta(ge=1, lt=10)] = 1
    share: float = 0
    flag: bool = False
    several: Annotated[list[Inner], msgspec.Meta(max_length=1)] = []
    nothing: None = None
    identifier: UUID | None = None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"text": 5}, Misfit("text", "must be a string", "a number")),
        ({"text": ""}, Misfit("text", "must be a string of at least 1 character")),
        ({"text": "long"}, Misfit("text", "must be a string of at most 3 characters")),
        ({"number": 1.5}, Misfit("number", "must be an integer", "a number")),
        ({"number": 0}, Misfit("number", "must be an integer of at least 1")),
        ({"number": 10}, Misfit("number", "must be an integer of at most 9")),
        ({"share": None}, Misfit("share", "must be a number", "null")),
        ({"flag": {}}, Misfit("flag", "must be a boolean", "an object")),
        ({"several": True}, Misfit("several", "must be an array", "a boolean")),
        ({"several": [{"id": "a"}] * 2}, Misfit("several", "must be an array of at most 1 item")),
        ({"several": [{}]}, Misfit("several[0].id", "is missing")),
        ({"several": [{"id": "a", "b": 1}]}, Misfit("several[0].b", "is not a field here")),
        (
            {"several": [{"id": "a", "kind": "c"}]},
            Misfit("several[0].kind", "is not one of the allowed values"),
        ),
        ({"nothing": []}, Misfit("nothing", "must be null", "an array")),
        ({"identifier": "x"}, Misfit("identifier", "must be a UUID")),
        ({"other": 1}, Misfit("other", "is not a field here")),
        ("text", Misfit("", "must be an object", "a string")),
    ],
    ids=str,
)
def test_what_msgspec_says_is_told_in_the_words_of_json(value: Any, expected: Misfit) -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.convert(value, Value)
    assert misfit(str(refused.value)) == expected
