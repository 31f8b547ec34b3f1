"""What people are asked: the arguments of the functions `approval` and `form` (contract 10.5).

The same rules hold when a definition is created, for what is literal there, and when a task runs, for what was evaluated.
"""

from collections.abc import Mapping
from typing import Any, Literal, cast

import msgspec

from service.language.arguments import ArgumentReader
from service.language.cloudevents import is_time
from service.language.durations import Duration, DurationRefused, duration
from service.language.errors import Problem, below
from service.language.fields import listed

Kind = Literal["approval", "form"]
Comment = Literal["optional", "none", "required"]

TITLE_LIMIT = 200  # characters
DESCRIPTION_LIMIT = 10_000  # characters
ASSIGNEE_LIMIT = 100  # users and roles each
NAME_LIMIT = 254  # characters of a user, a role or an outcome; an e-mail address has no more
OUTCOME_LIMIT = 20
MINIMUM_LIMIT = 100  # people
ANY_MEMBER = "member"
# What members are in the account, any member, and whoever holds the instance's URL.
ROLES = ("admin", "manager", "sender", "viewer", ANY_MEMBER, "participant")

_COMMENTS: tuple[Comment, ...] = ("optional", "none", "required")
_BOTH = ("title", "description", "assignees", "due", "data", "form", "excludeStarter")
_ALLOWED: dict[Kind, tuple[str, ...]] = {
    "approval": (*_BOTH, "outcomes", "minimum", "overdue"),
    "form": _BOTH,
}
_REQUIRED: dict[Kind, tuple[str, ...]] = {
    "approval": ("title", "assignees"),
    "form": ("title", "assignees", "form"),
}


class Outcome(msgspec.Struct, frozen=True):
    """One way to decide; the first of an approval is the positive one."""

    name: str
    label: str
    comment: Comment = "optional"


DEFAULT_OUTCOMES = (Outcome("approve", "Approve"), Outcome("reject", "Reject"))


class Assignees(msgspec.Struct, frozen=True):
    """Who may decide: users by id or e-mail address, and everybody in one of the roles."""

    users: tuple[str, ...]
    roles: tuple[str, ...]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody is asked, every default filled in.

    A form has no outcomes and `minimum` 1: the first who fills it in answers it. `due` is a length of time or an RFC 3339
    time; when it passes, `overdue_outcome` decides, and without one the request is only marked. `form` is a JSON Schema.
    """

    kind: Kind
    title: str
    description: str | None
    assignees: Assignees
    outcomes: tuple[Outcome, ...]
    minimum: int
    due: Duration | str | None
    data: Any
    form: Any
    exclude_starter: bool
    overdue_outcome: str | None


def asked(kind: Kind, arguments: Any) -> list[Problem]:
    """Everything wrong with evaluated arguments; the pointers start at the arguments.

    Whether `form` is a JSON Schema only the sandbox can tell.
    """
    reader = _ArgumentReader(literal=False)
    reader.request(kind, arguments)
    return reader.problems


def asked_literally(kind: Kind, arguments: Any) -> tuple[list[Problem], list[Problem]]:
    """Everything wrong with arguments as a definition has them, `${ … }` standing for any value; and the warnings."""
    reader = _ArgumentReader(literal=True)
    reader.request(kind, arguments)
    return reader.problems, reader.warnings


def request(kind: Kind, arguments: Any) -> Request:
    """The request of evaluated arguments with which nothing is wrong."""
    return _ArgumentReader(literal=False).request(kind, arguments)


class _ArgumentReader(ArgumentReader):
    """Reads what people are asked."""

    def __init__(self, *, literal: bool) -> None:
        super().__init__(literal=literal)
        self.anyone = False  # whether who may decide is not known yet

    def request(self, kind: Kind, arguments: Any) -> Request:
        self.storable(arguments)
        fields = self.closed(arguments, "", _ALLOWED[kind], _REQUIRED[kind])
        assignees = self.assignees(fields["assignees"]) if "assignees" in fields else Assignees((), ())
        outcomes = self.outcomes(fields.get("outcomes")) if kind == "approval" else ()
        return Request(
            kind=kind,
            title=self.limited(fields, "title", TITLE_LIMIT) or "",
            description=self.limited(fields, "description", DESCRIPTION_LIMIT, least=0),
            assignees=assignees,
            outcomes=outcomes,
            minimum=self.minimum(fields, assignees),
            due=self.due(fields["due"]) if "due" in fields else None,
            data=fields.get("data"),
            form=self.form(fields["form"]) if "form" in fields else None,
            exclude_starter=self.flag(fields, "excludeStarter"),
            overdue_outcome=self.overdue(fields, outcomes) if kind == "approval" else None,
        )

    def flag(self, fields: Mapping[str, Any], name: str) -> bool:
        return not self.is_later(fields.get(name)) and self.boolean(fields, name, "", default=False)

    def assignees(self, value: Any) -> Assignees:
        """Who may decide: at least one user or role."""
        place = "/assignees"
        if self.is_later(value) and not isinstance(value, dict):
            self.anyone = True
            return Assignees((), ())
        fields = self.closed(value, place, ("users", "roles"))
        users, roles = (self.names(fields.get(name, []), below(place, name)) for name in ("users", "roles"))
        self.unknown_roles(fields.get("roles"), place + "/roles")
        if isinstance(value, dict) and not any(fields.values()):
            self.refuse("missing_field", "This names at least one user or role.", place)
        return Assignees(users, roles)

    def names(self, value: Any, pointer: str) -> tuple[str, ...]:
        """A list of names, each once."""
        if self.is_later(value) and not isinstance(value, list):
            self.anyone = True
            return ()
        names: dict[str, str] = {}
        for name, place in self.list_of(value, pointer, "names", ASSIGNEE_LIMIT):
            if not isinstance(name, str):
                self.refuse("wrong_type", f"This is a string{self.advice}.", place)
            elif not 1 <= len(name) <= NAME_LIMIT and not self.is_later(name):
                self.refuse("bad_format", f"A name has 1 to {NAME_LIMIT} characters.", place)
            else:
                names.setdefault(name.lower(), name)
        return tuple(names.values())

    def unknown_roles(self, value: Any, pointer: str) -> None:
        """Warn of roles that nobody can have."""
        for index, name in enumerate(value[:ASSIGNEE_LIMIT] if isinstance(value, list) else ()):
            if isinstance(name, str) and not self.is_later(name) and name.lower() not in ROLES:
                message = f"Nobody has the role `{name[:64]}`; the roles are {listed(ROLES)}."
                self.warn("unknown_role", message, below(pointer, index))

    def outcomes(self, value: Any) -> tuple[Outcome, ...]:
        """The ways to decide: at least two, of different names."""
        if value is None or (self.is_later(value) and not isinstance(value, list)):
            return DEFAULT_OUTCOMES
        given = self.list_of(value, "/outcomes", "outcomes", OUTCOME_LIMIT, 2)
        outcomes: dict[str, Outcome] = {}
        for one, place in given:
            outcome = self.outcome(one, place)
            if outcome and outcome.name in outcomes and not self.is_later(outcome.name):
                self.refuse("bad_format", f"Another outcome is called `{outcome.name[:64]}`.", place)
            if outcome:
                outcomes[outcome.name] = outcome
        return tuple(outcomes.values())

    def outcome(self, value: Any, pointer: str) -> Outcome | None:
        """A name, or an object with one."""
        if self.is_later(value) and not isinstance(value, dict):
            return None
        shape = {"name": value} if isinstance(value, str) else value
        fields = self.closed(shape, pointer, ("name", "label", "comment"), ("name",))
        name, label = self.text(fields, "name", pointer), self.text(fields, "label", pointer)
        for text, place in ((name, pointer), (label, below(pointer, "label"))):
            if text is not None and not 1 <= len(text) <= NAME_LIMIT and not self.is_later(text):
                self.refuse("bad_format", f"An outcome has 1 to {NAME_LIMIT} characters.", place)
        comment = _COMMENTS[0]
        if not self.is_later(fields.get("comment")):
            comment = cast(Comment, self.choice(fields, "comment", pointer, _COMMENTS))
        return Outcome(name, label or _label(name), comment) if name else None

    def minimum(self, fields: Mapping[str, Any], assignees: Assignees) -> int:
        """How many different people the positive outcome needs."""
        value = fields.get("minimum", 1)
        if self.is_later(value):
            return 1
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MINIMUM_LIMIT:
            self.refuse("wrong_type", f"`minimum` is an integer from 1 to {MINIMUM_LIMIT}.", "/minimum")
            return 1
        if not self.anyone and not assignees.roles and value > len(assignees.users) > 0:
            message = f"{value} different people are needed, and {len(assignees.users)} may decide."
            self.refuse("bad_format", message, "/minimum")
        return value

    def due(self, value: Any) -> Duration | str | None:
        """Until when an answer is expected."""
        if self.is_later(value) or (isinstance(value, str) and is_time(value)):
            return value if isinstance(value, str) else None
        try:
            return duration(value)
        except DurationRefused as refused:
            message = f"{refused} Or write an RFC 3339 time such as 2030-01-31T12:00:00Z."
            self.refuse("bad_format", message, "/due")
            return None

    def form(self, value: Any) -> Any:
        """The JSON Schema of the fields that an answer carries, as an object has them."""
        if not isinstance(value, dict) and not self.is_later(value):
            self.refuse("wrong_type", "`form` is a JSON Schema: an object.", "/form")
        return value

    def overdue(self, fields: Mapping[str, Any], outcomes: tuple[Outcome, ...]) -> str | None:
        """The outcome that the passing of `due` decides."""
        value = self.text(fields, "overdue", "")
        if value is None or self.is_later(value) or self.is_later(fields.get("outcomes")):
            return value
        if value not in {outcome.name for outcome in outcomes}:
            message = f"`overdue` is one of the outcomes {listed(outcome.name for outcome in outcomes)}."
            self.refuse("bad_format", message, "/overdue")
        if "due" not in fields:
            message = "`overdue` says what the passing of `due` decides; add `due`."
            self.refuse("missing_field", message, "/due")
        return value


def _label(name: str | None) -> str:
    """What a button says that only has a name."""
    return (name or "")[:1].upper() + (name or "")[1:]
