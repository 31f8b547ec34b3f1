"""What the history keeps of a large value is the beginning of its JSON, made without the rest."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from service.engine.storing import BEGINNING, beginning

LONG = st.text(max_size=60).map(lambda text: 40 * text)
LEAVES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=30) | LONG
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3) | LONG, inner), max_leaves=200
)


@given(VALUES)
def test_the_beginning_of_a_value_is_that_of_its_whole_text(value: object) -> None:
    assert beginning(value) == msgspec.json.encode(value).decode()[:BEGINNING]


def test_a_key_that_begins_like_another_one_hides_nothing() -> None:
    value = {"x" * 900: 1, "ab": 2, **{"ab" + "c" * number: number for number in range(1, 200)}}
    assert beginning(value) == msgspec.json.encode(value).decode()[:BEGINNING]
