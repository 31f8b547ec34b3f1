"""As little of `make fuzz` as shows that all of it works: each document's examples and a part of the garbage."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.fuzz.described import Found, Violation, is_too_long, nothing_of_others, strangers
from tests.fuzz.run import RAW, Plan, complaints, fuzz

SEED = 20


@pytest.mark.timeout(240)
@pytest.mark.filterwarnings("ignore")  # of what schemathesis uses
async def test_nothing_that_is_made_up_is_answered_otherwise_than_the_documents_say(tmp_path: Path) -> None:
    found = await fuzz(Plan(SEED, None), tmp_path)
    assert [one for part in found.values() for one in part.violations.values()] == []
    assert {name.partition(" ")[0] for name in found} == {
        "maestro",
        "formance",
        "keyfactor",
        "oauth",
        RAW,
        "log",
    }
    for name, part in found.items():
        assert name == "log" or (part.of_class(2) and part.of_class(4)), name
        assert not part.of_class(5), name


class Case:
    """As much of a request and its answer as is looked at."""

    def __init__(self, url: str, body: str, text: str) -> None:
        self.request, self.url, self.body, self.text = self, url, body, text
        self.headers: dict[str, str] = {}


@pytest.mark.parametrize(
    ("asked", "answered", "told"),
    [("/x", "of acme", False), ("/x", "of globex", True), ("/x?globex", "globex is unknown", False)],
)
def test_text_of_another_account_is_found_unless_it_was_asked_for(
    asked: str, answered: str, *, told: bool
) -> None:
    strangers.clear()
    strangers.add("globex")
    try:
        nothing_of_others(*(Case(asked, "", answered),) * 3)  # type: ignore[arg-type] # a stand-in
    except AssertionError:
        assert told
    else:
        assert not told


@pytest.mark.parametrize(
    ("status", "length", "excused"), [(414, 16_400, True), (414, 16_000, False), (200, 16_400, False)]
)
def test_the_connections_refusal_of_an_endless_path_is_in_no_document(
    status: int, length: int, *, excused: bool
) -> None:
    request, response = SimpleNamespace(uri=f"http://{'a' * length}"), SimpleNamespace(status_code=status)
    assert is_too_long(SimpleNamespace(request=request, response=response)) == excused


def test_log_is_searched_for_what_nobody_should_be_able_to_cause(tmp_path: Path) -> None:
    log = tmp_path / "service.log"
    log.write_text(
        '{"level":"warning","logger":"tutti","message":"slow"}\n'
        '{"level":"error","logger":"tutti","message":"failed","error":"ValueError"}\nTraceback: b\n'
    )
    assert [one.message for one in complaints(log)] == ["tutti: failed: ValueError", "Traceback: b"]


def test_violations_are_told_once_for_each_place() -> None:
    found = Found()
    for text in ("a\nb", "a\nc", "d"):
        found.add(Violation("here", "check", text, "curl"))
    assert [one.message for one in found.violations.values()] == ["a\nb", "d"]
