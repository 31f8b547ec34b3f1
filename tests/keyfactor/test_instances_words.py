"""What instances are called and numbered here: pure rules."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from service.engine.repeated import repeated_id
from service.engine.states import Status
from service.keyfactor.reference import LARGEST, first_id, reference_of
from service.keyfactor.status import STANDINGS, named, standing_of

EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
IDS = st.builds(
    lambda milliseconds, fraction, rest: UUID(
        int=milliseconds << 80 | 7 << 76 | fraction << 64 | 2 << 62 | rest
    ),
    st.integers(1_577_836_800_000, 1_577_836_800_000 + 2**41 - 1),
    st.integers(0, 2**12 - 1),
    st.integers(0, 2**62 - 1),
)

# --- Statuses -------------------------------------------------------------------------------------------------------

WORDS = {
    (Status.PENDING, False): (1, "Running"),
    (Status.RUNNING, False): (1, "Running"),
    (Status.WAITING, False): (2, "Suspended"),
    (Status.SUSPENDED, False): (2, "Suspended"),
    (Status.FAULTED, False): (3, "Failed"),
    (Status.CANCELLED, False): (4, "Rejected"),
    (Status.COMPLETED, False): (5, "Complete"),
    (Status.COMPLETED, True): (5, "Complete"),
    (Status.FAULTED, True): (6, "CanceledForRestart"),
    (Status.CANCELLED, True): (6, "CanceledForRestart"),
}


@pytest.mark.parametrize(("status", "superseded"), WORDS)
def test_every_status_of_the_engine_has_one_here(status: Status, superseded: bool) -> None:  # noqa: FBT001 - a case of a table
    found = standing_of(status, superseded=superseded)
    assert (found.number, found.name) == WORDS[status, superseded]


def test_statuses_are_numbered_as_they_stand() -> None:
    assert [one.number for one in STANDINGS] == list(range(7))


@pytest.mark.parametrize("standing", STANDINGS, ids=lambda one: one.name)
def test_status_is_found_by_name_in_any_case_and_by_number(standing: object) -> None:
    (one,) = (each for each in STANDINGS if each == standing)
    for text in (one.name, one.name.upper(), f" {one.name.lower()} ", str(one.number)):
        assert named(text) == one


@pytest.mark.parametrize("text", ["", "7", "-1", "waiting", "Canceled", "1.0", "\u0661"])
def test_what_is_no_status_is_none(text: str) -> None:
    assert named(text) is None


# --- Numbers --------------------------------------------------------------------------------------------------------


@given(one=IDS, other=IDS)
def test_numbers_grow_with_ids_and_lead_back_to_them(one: UUID, other: UUID) -> None:
    first, second = sorted((one, other))
    assert 0 <= reference_of(first) <= reference_of(second) <= LARGEST
    for each in (one, other):
        number = reference_of(each)
        assert first_id(number) <= each < first_id(number + 1)
        assert (each < first_id(reference_of(other))) == (number < reference_of(other))


@given(number=st.integers(), more=st.integers(1, 2**60))
def test_every_number_has_a_first_id(number: int, more: int) -> None:
    assert first_id(number) <= first_id(number + more)


@given(number=st.integers(0, 2**53 - 1))
def test_number_is_that_of_its_first_id(number: int) -> None:
    assert reference_of(first_id(number)) == number


def test_number_tells_the_milliseconds() -> None:
    before = datetime.now(UTC)
    number = reference_of(uuid7())
    at = EPOCH + timedelta(milliseconds=number >> 12)
    assert abs(at - before) < timedelta(seconds=5)


def test_id_of_an_earlier_release_has_a_number_all_the_same() -> None:
    assert 0 <= reference_of(uuid4()) <= LARGEST


@given(cause=st.text(), other=st.text())
def test_what_is_begun_twice_has_one_id_below_those_of_the_present(cause: str, other: str) -> None:
    namespace = UUID(int=7)
    made = repeated_id(namespace, cause)
    assert made == repeated_id(namespace, cause)
    assert (made == repeated_id(namespace, other)) == (cause == other)
    assert made != repeated_id(UUID(int=8), cause)
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert first_id(0) <= made < uuid7()
