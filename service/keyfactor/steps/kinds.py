"""The kinds of steps that this service does: their parameters, and the task that each becomes.

A task gets the data bucket and hands it on with what it adds to it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from service.keyfactor.steps import tokens
from service.keyfactor.steps.parameters import Parameter, Type
from service.keyfactor.steps.problems import Problem
from service.keyfactor.steps.step import Signal
from service.language.errors import REJECTED
from service.language.mail import SUBJECT_LIMIT
from service.language.people import MINIMUM_LIMIT, TITLE_LIMIT
from service.language.writing import JQ_LIMIT, Jq, literal, written

APPROVAL = "ApprovalStatus"  # the one signal there is
APPROVED, DENIED = "Approved", "Denied"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
KEPT = "$input"  # what a task got: the bucket
BUCKET = "bucket"  # where it stands beside long texts
DESCRIPTION_LIMIT = 10_000  # characters of an approval's message; longer ones are cut

_URL = re.compile(r"https?://[^/\s?#]", re.IGNORECASE)
_NAMED_HOST = re.compile(r"https?://[^/\s?#$]+([/?#]|$)", re.IGNORECASE)


class Reading(msgspec.Struct):
    """A step that is being made into a task: its name and values, where its secrets are, and what is wrong with it."""

    name: str
    title: str
    given: Mapping[str, Any]
    signals: Sequence[Signal]
    roles: Mapping[int, str]
    secret: str
    problems: list[Problem]
    long: dict[str, Any] = {}
    uses_secret: bool = False

    def refuse(self, field: str, message: str) -> None:
        """Note what is wrong with a parameter."""
        self.problems.append(Problem(self.name, field, message))

    def text(self, name: str) -> str | Jq:
        """A text of one line with its tokens."""
        return self.filled(name, str(self.given.get(name) or ""))

    def filled(self, name: str, text: str) -> str | Jq:
        """One of the texts of a parameter with its tokens."""
        return self.short(name, tokens.filled(text))

    def short(self, name: str, found: str | Jq) -> str | Jq:
        """What a text came to, which has to fit into one expression."""
        if isinstance(found, Jq) and len(found.text.encode()) > JQ_LIMIT:
            self.refuse(name, "has too many tokens in it.")
        return found

    def long_text(self, name: str, how: tokens.Written) -> str | Jq:
        """A text of any length with its tokens: what is too long for one expression is put together by a task before."""
        text = str(self.given.get(name) or "")
        found = tokens.filled(text, how)
        if isinstance(found, str) or len(found.text.encode()) <= JQ_LIMIT:
            return found
        self.long[name] = tokens.filled_apart(text, how)
        return Jq(f'$context.{name} | join("")')

    def stored(self, name: str) -> Jq:
        """A secret of the step, which its call alone reads."""
        self.uses_secret = True
        return Jq(f"$secrets[{literal(self.secret)}].{name}")

    def whole(self, task: dict[str, Any]) -> dict[str, Any]:
        """The step's task, with the one before it that long texts need."""
        if not self.long:
            return task
        texts = {"set": written({BUCKET: Jq("."), **self.long}), "export": {"as": f"del(.{BUCKET})"}}
        return {"do": [{"texts": texts}, {"act": {"input": {"from": f".{BUCKET}"}, **task}}]}


Make = Callable[[Reading], dict[str, Any]]


class Kind(msgspec.Struct, frozen=True):
    """A kind of step: what it is called, its parameters, the signals that it waits for, and how its task is made."""

    title: str
    make: Make
    parameters: tuple[Parameter, ...] = ()
    signals: Mapping[str, tuple[Parameter, ...]] = {}


# --- Nothing, and metadata ------------------------------------------------------------------------------------------


def nothing(_: Reading) -> dict[str, Any]:
    """Hand the bucket on."""
    return {"set": "${ . }"}


def update_metadata(reading: Reading) -> dict[str, Any]:
    """Set one field of the bucket's metadata."""
    value = reading.text("Value")
    field = literal(str(reading.given.get("Name")))
    text = value.text if isinstance(value, Jq) else literal(value)
    return {
        "set": str(
            Jq(
                f'. + {{metadata: ((.metadata | if type == "object" then . else {{}} end) + {{{field}: ({text})}})}}'
            )
        )
    }


# --- Approval -------------------------------------------------------------------------------------------------------

_DECISIONS = "[.decisions[] | {{Step: {step}, User: .user.name, Approved: (.outcome == $yes), Comment: .comment, At: .at}}]"
_WHO = '(.Approvals | last | .User + " denied it" + (if (.Comment // "") == "" then "." else ": " + .Comment end))'


def require_approval(reading: Reading) -> dict[str, Any]:
    """Wait until enough people have approved; the first denial ends the instance."""
    minimum = reading.given.get("MinimumApprovals", 1)
    if not 1 <= minimum <= MINIMUM_LIMIT:
        reading.refuse("MinimumApprovals", f"has to be from 1 to {MINIMUM_LIMIT}.")
    title, message = reading.text("Title"), reading.long_text("Message", tokens.plain)
    asked = {
        "title": cut(title or reading.title, TITLE_LIMIT),
        "description": cut(message, DESCRIPTION_LIMIT) if message else None,
        "assignees": {"roles": _roles(reading)},
        "outcomes": [{"name": "approve", "label": "Approve"}, {"name": "reject", "label": "Deny"}],
        "minimum": minimum,
    }
    decisions = _DECISIONS.format(step=literal(reading.name))
    before = f'({KEPT}.Approvals | if type == "array" then . else [] end)'
    status = f"if .approved then {literal(APPROVED)} else {literal(DENIED)} end"
    added = f'"approve" as $yes | {KEPT} + {{{APPROVAL}: ({status}), Approvals: ({before} + {decisions})}}'
    ask = {"call": "approval", "with": written(asked), "output": {"as": added}}
    error = {"type": REJECTED, "status": 403, "title": "Denied", "detail": str(Jq(_WHO))}
    denied = {"if": f".{APPROVAL} == {literal(DENIED)}", "raise": {"error": error}}
    return {"do": [{"ask": reading.whole(ask)}, {"denied": denied}]}


def _roles(reading: Reading) -> list[str]:
    """The roles that may approve."""
    wanted = [number for signal in reading.signals for number in signal.role_ids or ()]
    unknown = sorted({number for number in wanted if number not in reading.roles})
    if unknown:
        told = ", ".join(f"{number} ({name})" for number, name in reading.roles.items())
        message = f"has unknown RoleIds: {', '.join(map(str, unknown[:20]))}; the roles are {told}."
        reading.refuse("Signals", message)
    elif not wanted:
        reading.refuse("Signals", f"{APPROVAL} needs at least one of RoleIds: nobody else may approve.")
    return list(dict.fromkeys(reading.roles[number] for number in wanted if number in reading.roles))


def cut(found: str | Jq, most: int) -> str | Jq:
    """A text that becomes no longer than it may be, and never empty."""
    if isinstance(found, str):
        return tokens.unfilled(found[:most])
    return Jq(f'{found.text} | .[:{most}] | if . == "" then "-" else . end')


# --- E-mail ---------------------------------------------------------------------------------------------------------


def email(reading: Reading) -> dict[str, Any]:
    """Send one message."""
    recipients = [reading.filled("Recipients", one) for one in reading.given.get("Recipients", ())]
    message = {
        "recipients": recipients,
        "subject": one_line(reading.text("Subject"), SUBJECT_LIMIT),
        "message": reading.long_text("Message", tokens.markup),
    }
    return reading.whole({"call": "email", "with": written(message), "output": {"as": KEPT}})


def one_line(found: str | Jq, most: int) -> str | Jq:
    """A text that is no longer than it may be, and whose values break no line."""
    breaks = literal("[[:cntrl:]\u2028\u2029]+")
    return found if isinstance(found, str) else Jq(f'{found.text} | gsub({breaks}; " ") | .[:{most}]')


# --- HTTP -----------------------------------------------------------------------------------------------------------


def rest_request(reading: Reading) -> dict[str, Any]:
    """Make a request, with a name and a password where there is a name."""
    if not reading.given.get("Username"):
        if reading.given.get("Password"):
            reading.refuse("Username", "is missing: whose password is it?")
        return _request(reading, None)
    basic = {"username": reading.text("Username"), "password": reading.stored("Password")}
    return _request(reading, {"basic": basic})


def oauth_rest_request(reading: Reading) -> dict[str, Any]:
    """Make a request with an access token, which is got by the client's credentials."""
    authority, path = _token_endpoint(reading)
    scopes, audience = str(reading.given.get("scope") or "").split(), reading.given.get("audience")
    policy = {
        "authority": authority,
        "endpoints": {"token": path},
        "grant": "client_credentials",
        "client": {
            "id": _plain(reading.given.get("client_id", "")),
            "secret": reading.stored("client_secret"),
        },
        "scopes": [_plain(one) for one in scopes] or None,
        "audiences": [_plain(audience)] if audience else None,
    }
    return _request(reading, {"oauth2": policy})


def _plain(text: str) -> str | Jq:
    """A text that nothing is filled into."""
    return Jq(literal(text))


def _token_endpoint(reading: Reading) -> tuple[Jq, Jq]:
    """The address that gives tokens, apart: the authority, and the path below it."""
    text = str(reading.given.get("TokenEndpoint") or "")
    if text and (not _URL.match(text) or tokens.has_tokens(text)):
        reading.refuse("TokenEndpoint", "has to be an absolute http or https URL, without tokens.")
        return Jq('""'), Jq('""')
    try:
        parts = urlsplit(text)
    except ValueError:
        reading.refuse("TokenEndpoint", "has to be an absolute http or https URL, without tokens.")
        return Jq('""'), Jq('""')
    rest = parts.path + (f"?{parts.query}" if parts.query else "")
    return Jq(literal(f"{parts.scheme}://{parts.netloc}")), Jq(literal(rest or "/"))


def _request(reading: Reading, proof: dict[str, Any] | None) -> dict[str, Any]:
    """The call itself; what it answers goes into the bucket, under the name that is given for it."""
    text, verb = str(reading.given.get("URL") or ""), str(reading.given.get("Verb") or "")
    if text and not (_URL.match(text) or tokens.TOKEN.match(text)):
        reading.refuse("URL", "has to begin with http:// or https:// and a host, or with a token.")
    elif text and proof is not None and not _NAMED_HOST.match(text):
        # Whoever starts an instance would say where the secret goes.
        reading.refuse("URL", "has to name its host, without tokens, where a secret is sent to it.")
    headers, content = _headers(reading), reading.given.get("RequestContent")
    kind = _content_type(reading, headers) if content else ""
    call = {
        "method": verb,
        "endpoint": {"uri": reading.short("URL", tokens.url(text)), "authentication": proof},
        "headers": headers or None,
        "body": reading.long_text("RequestContent", tokens.body_of(kind)) if content else None,
    }
    name = reading.given.get("DataBucketProperty")
    kept = f". as $answer | {KEPT} + {{{literal(name)}: $answer}}" if name else KEPT
    return reading.whole({"call": "http", "with": written(call), "output": {"as": kept}})


def _headers(reading: Reading) -> dict[str, str | Jq]:
    """The headers, each one line."""
    found: dict[str, str | Jq] = {}
    for name, values in reading.given.get("Headers", {}).items():
        if name.lower() in (one.lower() for one in found):
            reading.refuse("Headers", f"has {name[:64]!r} twice, in different cases.")
        elif values:
            found[name] = reading.filled("Headers", ", ".join(values))
    return found


def _content_type(reading: Reading, headers: dict[str, str | Jq]) -> str:
    """What the content is, by which values are written into it: `ContentType`, which its header then says too, or that."""
    name = next((one for one in headers if one.lower() == "content-type"), "Content-Type")
    if kind := str(reading.given.get("ContentType") or ""):
        headers[name] = tokens.unfilled(kind)
        return kind
    found = headers.get(name, "")
    if isinstance(found, str):
        return found
    reading.refuse(
        "Headers", "has a token in Content-Type: how values are written into the content depends on it."
    )
    return ""


# --- All of them ----------------------------------------------------------------------------------------------------

_CALL = (
    Parameter("Verb", "Verb", Type.CHOICE, required=True, choices=METHODS),
    Parameter("URL", "URL", required=True, tokens=True),
    Parameter("Headers", "Headers", Type.HEADERS, tokens=True),
    Parameter("ContentType", "Content type"),
    Parameter("RequestContent", "Request content", Type.LONG_TEXT, tokens=True),
    Parameter("DataBucketProperty", "Data bucket property"),
)

KINDS: Mapping[str, Kind] = {
    "NOOPStep": Kind("No operation", nothing),
    "UpdateMetadata": Kind(
        "Update metadata",
        update_metadata,
        (Parameter("Name", "Name", required=True), Parameter("Value", "Value", tokens=True)),
    ),
    "RequireApproval": Kind(
        "Require approval",
        require_approval,
        (
            Parameter("MinimumApprovals", "Minimum approvals", Type.NUMBER, default="1"),
            Parameter("Title", "Title", tokens=True),
            Parameter("Message", "Message", Type.LONG_TEXT, tokens=True),
        ),
        {
            APPROVAL: (
                Parameter("Approved", "Approved", Type.CHOICE, required=True, choices=("True", "False")),
                Parameter("Comment", "Comment"),
            )
        },
    ),
    "Email": Kind(
        "Send e-mail",
        email,
        (
            Parameter("Subject", "Subject", required=True, tokens=True),
            Parameter("Message", "Message", Type.LONG_TEXT, required=True, tokens=True),
            Parameter("Recipients", "Recipients", Type.TEXTS, required=True, tokens=True),
        ),
    ),
    "RESTRequest": Kind(
        "REST request",
        rest_request,
        (
            *_CALL,
            Parameter("Username", "User name", tokens=True),
            Parameter("Password", "Password", Type.SECRET),
        ),
    ),
    "OAuthRESTRequest": Kind(
        "REST request with OAuth",
        oauth_rest_request,
        (
            *_CALL,
            Parameter("client_id", "Client id", required=True),
            Parameter("client_secret", "Client secret", Type.SECRET),
            Parameter("TokenEndpoint", "Token endpoint", required=True),
            Parameter("scope", "Scope"),
            Parameter("audience", "Audience"),
        ),
    ),
}
