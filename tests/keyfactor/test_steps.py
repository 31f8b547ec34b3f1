"""Steps as definitions: their order, their conditions, tokens and metadata, approvals, and what is refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.messages import Ask, Call
from service.keyfactor.steps import StepsRefused
from service.language.document import EmailCall
from service.language.errors import REJECTED
from service.language.expressions import Evaluation
from service.language.reading import read
from tests.engine.instances import value
from tests.keyfactor.stepping import Running, approval, bucket_after, chain, made, secret_name, step

NASTY = 'a\'b"c\\d\\(1+1)${x}$(other)$ENV{}) | error("no") # \u0001\u2028é<b>&'


def refusal(*steps: dict[str, Any]) -> str:
    """Why steps are refused, with the names of the steps that are."""
    with pytest.raises(StepsRefused) as refused:
        made(*steps)
    return str(refused.value)


def tasks(*steps: dict[str, Any]) -> list[str]:
    """The tasks of a definition, in their order."""
    return [task.name for task in read(made(*steps).document).tasks]


# --- The order ------------------------------------------------------------------------------------------------------


def test_steps_are_tasks_in_the_order_of_their_outputs() -> None:
    document = made(*chain(step("NOOPStep", "a"), step("NOOPStep", "b c"))).document
    header = document["document"]
    assert (header["namespace"], header["title"], header["version"]) == ("keyfactor", "Web server", "3.0.0")
    assert header["name"].startswith("definition-")
    assert [task.name for task in read(document).tasks] == ["StartNOOP", "a", "b c", "EndNOOP"]
    told = [one["UniqueName"] for one in header["metadata"]["keyfactor"]["Steps"]]
    assert told == ["EndNOOP", "b c", "a", "StartNOOP"], "they are kept in the order in which they came"


def test_no_steps_are_a_definition_too() -> None:
    assert tasks() == []


def test_start_and_end_may_be_left_out() -> None:
    assert tasks(step("NOOPStep", "b"), step("NOOPStep", "a", "b")) == ["a", "b"]
    assert tasks(step("NOOPStep", "a", "EndNOOP")) == ["a"]
    assert tasks(step("noopstep", "a")) == ["a"]


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ([step("NOOPStep", "a", "b")], ["'a'", "'b'", "no such step"]),
        ([step("NOOPStep", "a"), step("NOOPStep", "a")], ["'a'", "another step"]),
        ([step("NOOPStep", "a", "b"), step("NOOPStep", "b", "a")], ["circle"]),
        ([step("NOOPStep", "StartNOOP", "a"), step("NOOPStep", "a", "StartNOOP")], ["'a'", "leads back to 'StartNOOP'"]),
        ([step("NOOPStep", "a"), step("NOOPStep", "b")], ["several beginnings", "'a', 'b'"]),
        ([step("NOOPStep", "StartNOOP"), step("NOOPStep", "b")], ["'b'", "not on the way"]),
        ([step("NOOPStep", "")], ["step 1 of the list", "UniqueName is missing"]),
        ([step("NOOPStep", "x" * 101)], ["at most 100 characters"]),
        ([step("NOOPStep", " x")], ["no blank"]),
        ([{**step("NOOPStep", "a"), "Outputs": {"denied": "a"}}], ["'a'", "'denied'", "'continue'"]),
        ([step("", "a")], ["'a'", "ExtensionName"]),
        ([step("PowerShell", "a")], ["'a'", "'PowerShell' is not done by this service", "no scripts"]),
        ([step("EnrollStep", "a")], ["nothing is enrolled here"]),
        ([step("AwsLambda", "a")], ["RESTRequest"]),
        ([step("Teapot", "a")], ["'Teapot' is unknown", "RequireApproval"]),
        ([step("NOOPStep", "a", Other=1)], ["'a' Other", "no parameter", "none"]),
        ([step("NOOPStep", f"a{index}", f"a{index + 1}") for index in range(101)], ["at most 100 steps"]),
        ([step("UpdateMetadata", "a", Name=1, Value="x")], ["'a' Name", "string"]),
        ([step("UpdateMetadata", "a", Value="x")], ["'a' Name", "missing"]),
        ([step("UpdateMetadata", "a", Name="x", name="y")], ["twice"]),
        ([step("UpdateMetadata", "a", Name="x", Value="$(a)" * 250 * 5)], ["Value", "at most 1000 characters"]),
        ([step("NOOPStep", "a", Conditions=[{"Value": "maybe"}])], ["'a' Conditions", "True, False or one token"]),
        ([step("NOOPStep", "a", Conditions=[{"Value": "$(a) $(b)"}])], ["one token"]),
        ([step("NOOPStep", "a", Signals=[{"SignalName": "X", "RoleIds": [1]}])], ["'a' Signals", "'X'", "no signals"]),
        ([approval("a", None, 9)], ["'a' Signals", "unknown RoleIds: 9", "1 (admin)"]),
        ([step("RequireApproval", "a")], ["at least one of RoleIds"]),
        ([approval("a", MinimumApprovals=0)], ["'a' MinimumApprovals", "1 to 100"]),
        ([approval("a", MinimumApprovals="many")], ["whole number"]),
        ([approval("a", MinimumApprovals=True)], ["whole number"]),
        ([step("Email", "a", Subject="s", Message="m", Recipients="a@b.c")], ["'a' Recipients", "list"]),
        ([step("Email", "a", Subject="s", Message="m", Recipients=[])], ["'a' Recipients", "missing"]),
        ([step("RESTRequest", "a", Verb="GET", URL="ftp://x/")], ["'a' URL", "http"]),
        ([step("RESTRequest", "a", Verb="TRACE", URL="http://x/")], ["'a' Verb", "one of GET"]),
        ([step("RESTRequest", "a", Verb="GET", URL="http://x/", Password="p")], ["'a' Username"]),
        ([step("RESTRequest", "a", Verb="GET", URL="http://x/", Username="u", Password={"Provider": 1})], ["provider"]),
        ([step("RESTRequest", "a", Verb="GET", URL="http://x/", Headers={"A": "1", "a": "2"})], ["'a' Headers", "twice"]),
        ([step("RESTRequest", "a", Verb="GET", URL="http://x/", Headers={f"A{one}": "1" for one in range(64)})], ["at most 63"]),
        ([step("RESTRequest", "a", Verb="PUT", URL="http://x/", Headers={"Content-Type": "$(x)"}, RequestContent="x")], ["'a' Headers", "a token in Content-Type"]),
        ([step("OAuthRESTRequest", "a", Verb="GET", URL="http://x/", client_id="c", TokenEndpoint="$(x)")], ["TokenEndpoint"]),
        ([step("RESTRequest", "a", Verb="GET", URL="$(x)/", Username="u", Password="geheim")], ["URL"]),
        ([step("RESTRequest", "a", Verb="GET", URL="http://a.$(x)/", Username="u")], ["URL"]),
        ([step("OAuthRESTRequest", "a", Verb="GET", URL="http://x$(x)", client_id="c", TokenEndpoint="http://x/")], ["URL"]),
        ([step("RESTRequest", "a", Verb="POST", URL="http://x/", RequestContent="x" * 65_536)], ["64 KiB"]),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_refused_by_the_name_of_its_step(
    steps: list[dict[str, Any]], told: list[str]
) -> None:
    message = refusal(*steps)
    assert [part for part in told if part not in message] == [], message


def test_everything_that_is_wrong_is_told_at_once() -> None:
    wrong = [step("PowerShell", "a", "b"), step("UpdateMetadata", "b", "c"), step("NOOPStep", "c", "d")]
    assert [name for name in ("'a'", "'b'", "'c'") if name not in refusal(*wrong)] == []


# --- Nothing, conditions, metadata ----------------------------------------------------------------------------------


async def test_steps_that_do_nothing_hand_the_bucket_on() -> None:
    assert await bucket_after({"cn": "x", "a": [1]}, step("NOOPStep", "a")) == {"cn": "x", "a": [1]}


@pytest.mark.parametrize(
    ("conditions", "done"),
    [
        ([], True),
        (["True"], True),
        (["true", "False"], False),
        (["$(yes)"], True),
        (["$(word)"], True),
        (["$(deep.word)", "$(yes)"], True),
        (["$(yes)", "$(no)"], False),
        (["$(missing)"], False),
        (["$(number)"], False),
        (["$(word.deeper)"], False),
        ([True], True),
    ],
)
async def test_a_step_is_done_where_all_of_its_conditions_are_true(
    conditions: list[Any], *, done: bool
) -> None:
    bucket = {"yes": True, "no": False, "word": "TRUE", "deep": {"word": "True"}, "number": 1}
    set_it = step(
        "UpdateMetadata", "a", Name="Done", Value="1", Conditions=[{"Value": one} for one in conditions]
    )
    after = await bucket_after(bucket, set_it, step("UpdateMetadata", "b", Name="Later", Value="1"))
    assert after["metadata"] == ({"Done": "1"} if done else {}) | {"Later": "1"}


async def test_a_step_that_is_not_enabled_is_skipped() -> None:
    off = step("UpdateMetadata", "a", Name="A", Value="1", Enabled=False)
    assert await bucket_after({}, off) == {}


async def test_metadata_are_set_beside_those_that_are_there() -> None:
    after = await bucket_after(
        {"metadata": {"Old": "1"}, "cn": "x"},
        step("UpdateMetadata", "a", Name="New.Field", Value="$(cn) of $(metadata:Old)"),
        step("UpdateMetadata", "b", Name="Newer", Value="[$(metadata:New.Field)]"),
    )
    assert after == {"cn": "x", "metadata": {"Old": "1", "New.Field": "x of 1", "Newer": "[x of 1]"}}


# --- Tokens ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("$(text)", NASTY),
        ("<$(text)>", f"<{NASTY}>"),
        ("$(number) $(yes) $(list)", '7 true [1,"a"]'),
        ("$(missing)|$(a.b.c)|$(text.x)|$(list.x)", "|||"),
        ("$(a.b)", "deep"),
        ("$()$ $( $(number)", "$()$ $( 7"),
        ("${ $secrets.x }", "${ $secrets.x }"),
        ("${ 1 + 1 } $(number)", "${ 1 + 1 } 7"),
        ('\\(1+1) "x"', '\\(1+1) "x"'),
        ("", ""),
    ],
)
async def test_tokens_stand_for_what_the_bucket_holds(text: str, told: str) -> None:
    bucket = {"text": NASTY, "number": 7, "yes": True, "list": [1, "a"], "a": {"b": "deep"}, "other": "NO"}
    after = await bucket_after(bucket, step("UpdateMetadata", "a", Name="x", Value=text))
    assert after["metadata"]["x"] == told


WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


@given(before=WORDS, held=WORDS, after=WORDS, key=st.text("ab .:\"\\'", min_size=1, max_size=8))
async def test_no_text_is_ever_taken_for_anything_else(before: str, held: str, after: str, key: str) -> None:
    before, after = before.replace("$", "S"), after.replace("$", "S")
    set_it = step("UpdateMetadata", "a", Name=key, Value=f"{before}$(v){after}")
    found = await bucket_after({"v": held}, set_it)
    assert found["metadata"] == {key: before + held + after}


# --- Approval -------------------------------------------------------------------------------------------------------


async def test_an_approval_asks_the_roles_and_goes_on_with_what_was_said() -> None:
    asking = approval(
        "Ask",
        None,
        1,
        2,
        MinimumApprovals="2",
        Title="Issue $(cn)?",
        Message="For $(who)",
        DisplayName="Ask them",
    )
    running = Running(*chain(asking, step("UpdateMetadata", "m", Name="By", Value="$(ApprovalStatus)")))
    reached = await running.run({"cn": "x", "who": "Bob"})
    (asked,) = reached.effects
    assert isinstance(asked, Ask)
    assert asked.arguments["title"] == "Issue x?"
    assert asked.arguments["description"] == "For Bob"
    assert asked.arguments["assignees"] == {"roles": ["admin", "manager"]}
    assert asked.arguments["minimum"] == 2
    assert [one["name"] for one in asked.arguments["outcomes"]] == ["approve", "reject"]
    assert reached.current_step == "Ask"
    reached = await running.decide(reached, "approve", "fine")
    assert reached.status == "completed"
    assert reached.output["metadata"] == {"By": "Approved"}
    assert reached.output["Approvals"] == [
        {"Step": "Ask", "User": "Ann", "Approved": True, "Comment": "fine", "At": "2025-01-31T12:00:00Z"}
    ]


async def test_a_second_approval_adds_to_the_first() -> None:
    running = Running(*chain(approval("One"), approval("Two")))
    reached = await running.decide(await running.run({"Approvals": "nonsense"}), "approve", "a")
    reached = await running.decide(reached, "approve")
    assert [(one["Step"], one["Comment"]) for one in reached.output["Approvals"]] == [
        ("One", "a"),
        ("Two", None),
    ]


@pytest.mark.parametrize(
    ("comment", "told"),
    [("not now", "Ann denied it: not now"), (None, "Ann denied it."), ("", "Ann denied it.")],
)
async def test_a_denial_ends_the_instance_and_says_who_and_why(comment: str | None, told: str) -> None:
    running = Running(*chain(approval("Ask"), step("UpdateMetadata", "m", Name="x", Value="y")))
    reached = await running.decide(await running.run({}), "reject", comment)
    assert reached.status == "cancelled"
    assert reached.fault is not None
    assert (reached.fault.type, reached.fault.detail) == (REJECTED, told)
    assert ("m", "completed") not in running.rows()


async def test_what_is_asked_fits_into_a_work_item_whatever_the_bucket_holds() -> None:
    running = Running(*chain(approval("Ask", Title="$(long)", Message="$(none)")))
    (asked,) = (await running.run({"long": "é" * 1000})).effects
    assert isinstance(asked, Ask)
    assert (asked.arguments["title"], asked.arguments["description"]) == ("é" * 200, "-")
    running = Running(*chain(approval("Ask", DisplayName="Ask them")))
    (asked,) = (await running.run({})).effects
    assert isinstance(asked, Ask)
    assert asked.arguments["title"] == "Ask them"


@pytest.mark.parametrize(
    ("field", "text"), [("DisplayName", "${ .cn }"), ("Title", "${ .cn" + " " * 193 + "} and more")]
)
async def test_what_is_asked_is_never_taken_for_jq(field: str, text: str) -> None:
    given: dict[str, Any] = {field: text}
    (asked,) = (await Running(*chain(approval("Ask", **given))).run({"cn": "x"})).effects
    assert isinstance(asked, Ask)
    assert asked.arguments["title"] == text[:200]


# --- E-mail ---------------------------------------------------------------------------------------------------------


async def test_an_email_is_written_with_values_as_text_and_hands_the_bucket_on() -> None:
    mail = step(
        "Email", "Tell", Subject="About $(cn)", Message="<p>$(cn)</p>", Recipients=["a@b.example", "$(to)"]
    )
    running = Running(*chain(mail))
    reached = running.start({"cn": "<b>\r\n\u2028x", "to": "c@d.example"})
    (sent,) = reached.effects
    assert isinstance(sent, Call)
    assert evaluated(running, sent) == {
        "recipients": ["a@b.example", "c@d.example"],
        "subject": "About <b> x",
        "message": "<p>&lt;b&gt;\r\n\u2028x</p>",
    }
    reached = running.reply(None, wait=sent.wait)
    assert reached.output == {"cn": "<b>\r\n\u2028x", "to": "c@d.example"}


async def test_a_long_email_may_have_tokens_too() -> None:
    message = "x" * 40_000 + "$(cn)" + "${ 1 }" + "y" * 20_000
    running = Running(*chain(step("Email", "Tell", Subject="s", Message=message, Recipients=["a@b.example"])))
    (sent,) = running.start({"cn": "<&>"}).effects
    assert isinstance(sent, Call)
    assert evaluated(running, sent)["message"] == message.replace("$(cn)", "&lt;&amp;&gt;")
    assert running.reply(None, wait=sent.wait).output == {"cn": "<&>"}


def evaluated(running: Running, sent: Call) -> Any:
    """The arguments of a call, as whoever makes it evaluates them."""
    waiting = running.pending(sent.wait)
    assert waiting is not None
    assert isinstance(waiting.task.work, EmailCall)
    return value(Evaluation(waiting.task.work.arguments, waiting.input, waiting.variables))


# --- Secrets --------------------------------------------------------------------------------------------------------


def test_secrets_are_kept_apart_from_the_definition() -> None:
    call = step(
        "RESTRequest", "Call", Verb="get", URL="http://x/", username="u", password={"SecretValue": "geheim"}
    )
    grant = step("OAuthRESTRequest", "né", Verb="GET", URL="http://x/", client_id="me", client_secret="geheim", TokenEndpoint="http://x/t")  # fmt: skip
    found = made(*chain(call, grant))
    assert "geheim" not in str(found.document)
    assert found.secrets == {
        secret_name("Call"): {"Password": "geheim"},
        secret_name("né"): {"client_secret": "geheim"},
    }
    told = {one["UniqueName"]: one for one in found.document["document"]["metadata"]["keyfactor"]["Steps"]}
    assert told["Call"]["ConfigurationParameters"] == {
        "Verb": "GET",
        "URL": "http://x/",
        "Username": "u",
        "Password": None,
    }
    assert told["né"]["ConfigurationParameters"]["client_secret"] is None
    again = made(*found.document["document"]["metadata"]["keyfactor"]["Steps"])
    assert (again.document, again.secrets) == (found.document, {}), "null keeps what is stored"
