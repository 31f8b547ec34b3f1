"""The page behind an instance's `instance_url`: its participant sees how far it is and answers what it asks of them.

The secret in the address is the whole proof, and there is no cookie: a browser adds nothing to a form that another site
sends, so whoever could forge one could as well open the address. Looking changes nothing; an answer is posted to the same
address and followed by a GET. Everything works without scripts.
"""

import http
import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit
from uuid import UUID

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.exceptions import HTTPException

from auth.forms import form, form_of
from auth.throttle import url_failures_counted
from service import refusing
from service.console.fields import Input, inputs_of, typed
from service.console.rendering import page, redirect
from service.errors import AnswerRefused, WorkItemConflict
from service.exchange import exchange_of
from service.operations import participants
from service.operations.participants import InstanceUrl, Question, View
from service.operations.work_items import Answer
from service.settings import settings
from tenancy.errors import BadRequest, NotFound, Refusal, TooManyAttempts
from tenancy.faults import unavailable

logger = logging.getLogger("tutti.console")

PATH = "/v1/accounts/{accountId:str}/instances/{instanceId:str}/execution"
ANYONE = {"public": True}
LARGEST_SHOWN = 20_000  # characters of what a work item shows, and of one value of it

UNKNOWN = (
    "This link does not work. Check that you have all of it, or ask whoever sent it to you for a new one."
)
TOO_LATE = (
    "Somebody else has answered this in the meantime or is working on it, or an answer is not needed any more."
    " What you sent was not saved."
)
AWAY = "This cannot be served just now. Wait a few seconds and try again."
FAILED = "An unexpected error occurred on the server. Wait a moment and try again."
CORRECT = "Nothing was saved yet. Correct what is marked and send it again."


class Asked(msgspec.Struct, frozen=True):
    """A question as the page asks it: what was typed or answered before, and what is wrong with it by input's name."""

    question: Question
    inputs: tuple[Input, ...]
    typed: Mapping[str, str] = {}
    wrong: Mapping[str, str] = {}

    @property
    def data(self) -> list[tuple[str, str]]:
        """What people are to see: the values of an object under their names, any other value under none."""
        if self.question.item.data is None:
            return []
        value = msgspec.json.decode(self.question.item.data)
        if value is None:
            return []
        pairs = value.items() if isinstance(value, dict) else [("", value)]
        return [(name, shown(one)) for name, one in pairs]

    @property
    def takes_comment(self) -> bool:
        """Whether any outcome goes with a comment."""
        return any(one.comment != "none" for one in self.question.item.outcomes)

    @property
    def needs_comment(self) -> str:
        """The labels of the outcomes that need a comment."""
        return ", ".join(one.label for one in self.question.item.outcomes if one.comment == "required")

    def text(self, one: Input) -> str:
        """What an input holds."""
        return self.typed.get(one.name, "")


@get(PATH, include_in_schema=False, opt=ANYONE)
async def show_instance(request: Request[Any, Any, Any]) -> Response[str]:
    """Show where the instance is, and what it asks."""
    parameters, url = parts_of(request)
    async with url_failures_counted(request, NotFound, "instance"):
        seen = await participants.view(url)
    questions = [asked(one) for one in seen.questions]
    return shown_view(seen, questions, here(request), answered="answered" in parameters)


@post(PATH, include_in_schema=False, opt=ANYONE, status_code=http.HTTPStatus.SEE_OTHER)
async def answer_question(request: Request[Any, Any, Any]) -> Response[str]:
    """Take an answer, and show the page anew."""
    _, url = parts_of(request)
    async with url_failures_counted(request, NotFound, "instance"):
        seen = await participants.view(url)
    if seen.ended:
        return shown_view(seen, [], here(request))
    sent = await form_of(request)
    chosen = next((one for one in seen.questions if str(one.item.id) == sent.get("work_item")), None)
    if chosen is None:
        raise WorkItemConflict
    inputs = inputs_of(form_schema(chosen))
    fields, wrong = typed(inputs, sent)
    if not wrong:
        comment = sent.get("comment", "").replace("\r\n", "\n").strip() or None
        given = Answer(sent.get("outcome"), comment, fields if inputs else None)
        try:
            await participants.answer(url, request.app.state["sandbox"], chosen.item.id, given)
        except AnswerRefused as refusal:
            wrong = mistakes(refusal, inputs)
        else:
            return redirect(f"{here(request)}&answered=1")
    again = [Asked(one, inputs, sent, wrong) if one is chosen else asked(one) for one in seen.questions]
    return shown_view(seen, again, here(request), status=http.HTTPStatus.BAD_REQUEST)


def parts_of(request: Request[Any, Any, Any]) -> tuple[dict[str, str], InstanceUrl]:
    """Take an address apart.

    Raises:
        NotFound: it can be none of ours.
    """
    try:
        parameters = form(request.scope["query_string"])
        ids = [request.path_params[name] for name in ("accountId", "instanceId")]
        account, instance, access = (UUID(one) for one in (*ids, parameters.get("mtid", "")))
    except (ValueError, BadRequest):
        raise NotFound from None
    return parameters, InstanceUrl(account, instance, access, parameters.get("mtsec", ""))


def here(request: Request[Any, Any, Any]) -> str:
    """Return the page's own address: its path, which browsers may know as a longer one, and what proves its holder."""
    _, url = parts_of(request)
    path = urlsplit(settings().public_url).path.rstrip("/") + request.scope["path"]
    return f"{path}?{urlencode({'mtid': str(url.access_id), 'mtsec': url.secret})}"


def asked(question: Question) -> Asked:
    """Ask a question with what was answered before, or with the form's defaults."""
    inputs, before = inputs_of(form_schema(question)), question.answered
    if before is None:
        return Asked(question, inputs, {one.name: one.text(one.default) for one in inputs})
    fields = before.fields if isinstance(before.fields, dict) else {}
    held = {one.name: one.text(fields if one.of is None else fields.get(one.of)) for one in inputs}
    return Asked(question, inputs, held | {"outcome": before.outcome or "", "comment": before.comment or ""})


def form_schema(question: Question) -> Any:
    """Return the JSON Schema of a question's fields; None if it has none."""
    return None if question.item.form is None else msgspec.json.decode(question.item.form)


def mistakes(refusal: AnswerRefused, inputs: tuple[Input, ...]) -> dict[str, str]:
    """Say what is wrong by the name of the input that it is about; what is about none of them under an empty name."""
    found: dict[str, list[str]] = {}
    for error in refusal.errors:
        target = error.target or ""
        by_property = (one.name for one in inputs if belongs(target, one))
        name = target if target in ("outcome", "comment") else next(by_property, "")
        message = "This is needed." if error.code == "FIELD_REQUIRED" else sentence(error.message)
        found.setdefault(name, []).append(message)
    return {name: " ".join(messages) for name, messages in found.items()}


def belongs(target: str, one: Input) -> bool:
    """Whether an error is about what an input holds."""
    return one.of is None or target == f"fields/{one.of}" or target.startswith(f"fields/{one.of}/")


def sentence(text: str) -> str:
    """Begin and end a message as people write."""
    return text[:1].upper() + text[1:].rstrip(".") + "."


def shown(value: Any) -> str:
    """Write a value for people: texts as they are, anything else as JSON; of long ones the beginning."""
    text = value if isinstance(value, str) else msgspec.json.format(msgspec.json.encode(value)).decode()
    return text if len(text) <= LARGEST_SHOWN else text[:LARGEST_SHOWN] + " …"


def shown_view(
    seen: View,
    questions: list[Asked],
    here: str,
    *,
    answered: bool = False,
    status: int = http.HTTPStatus.OK,
) -> Response[str]:
    """Show the page of an instance; of one that has ended, only that."""
    if seen.ended:
        return page("ended", answered=answered)
    shown = {"view": seen, "questions": questions, "here": here, "answered": answered, "correct": CORRECT}
    return page("instance", status=status, **shown)


def message(reason: str, status: int, back: str | None = None) -> Response[str]:
    """Show why something did not work, and the way back to the page if there is one."""
    return page("message", status=status, reason=reason, back=back)


def unknown(_: Request[Any, Any, Any], __: NotFound) -> Response[str]:
    """Show that an address is none of ours."""
    return message(UNKNOWN, http.HTTPStatus.NOT_FOUND)


def throttled(_: Request[Any, Any, Any], refusal: TooManyAttempts) -> Response[str]:
    """Show how long to wait."""
    told = message(
        f"Too many links did not work. Wait {refusal.retry_after} seconds and try again.", refusal.status
    )
    told.headers["Retry-After"] = str(refusal.retry_after)
    return told


def too_late(request: Request[Any, Any, Any], _: WorkItemConflict) -> Response[str]:
    """Show that somebody else was first."""
    return message(TOO_LATE, WorkItemConflict.status, here(request))


def refused(request: Request[Any, Any, Any], refusal: Refusal) -> Response[str]:
    """Show a refusal."""
    return message(refusal.detail, refusal.status, here(request))


def misunderstood(_: Request[Any, Any, Any], error: HTTPException) -> Response[str]:
    """Show what the framework refused, such as a body that is too large."""
    return message(f"{http.HTTPStatus(error.status_code).phrase}. Go back and try again.", error.status_code)


def away(_: Request[Any, Any, Any], error: Exception) -> Response[str]:
    """Show that the database, or what evaluates expressions, is away for a moment."""
    refusal = unavailable(error)
    told = message(AWAY, refusal.status)
    told.headers["Retry-After"] = str(refusal.retry_after)
    return told


def failed(request: Request[Any, Any, Any], error: Exception) -> Response[str]:
    """Show a fault of ours; the log has the cause under the request id, and never the address."""
    logger.error("request %s failed", exchange_of(request.scope).request_id, exc_info=error)
    return message(FAILED, http.HTTPStatus.INTERNAL_SERVER_ERROR)


EXCEPTION_HANDLERS: dict[int | type[Exception], Any] = {
    NotFound: unknown,
    TooManyAttempts: throttled,
    WorkItemConflict: too_late,
    Refusal: refused,
    HTTPException: misunderstood,
    **dict.fromkeys(refusing.AWAY, away),
    Exception: failed,
}


def console_router() -> Router:
    """Put the page together with its way of refusing."""
    return Router(
        path="/", route_handlers=[show_instance, answer_question], exception_handlers=EXCEPTION_HANDLERS
    )
