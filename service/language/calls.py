"""Reading `call` and `run`: what is done outside of the workflow, or by a function (contracts 2.1, 2.2 and 2.8)."""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, cast

import msgspec

from service.language import mail, people
from service.language.arguments import is_computed
from service.language.authentication import Policy, policy
from service.language.document import (
    EmailCall,
    FunctionCall,
    HttpCall,
    PersonCall,
    RunWorkflow,
    Task,
    UriTemplate,
    Work,
)
from service.language.endpoints import uri_template
from service.language.errors import below
from service.language.expressions import is_expression, template
from service.language.fields import BODY, listed
from service.language.labels import LABEL, LABEL_RULE, SEMANTIC_VERSION, VERSION_RULE
from service.language.tasks import TaskReader
from service.language.ways import pauses

HTTP = (*BODY, "secrets", "authorization")
PAIR_LIMIT = 100  # headers, and parameters of the query

_HTTP = ("method", "endpoint", "headers", "query", "body", "output", "redirect")
_PROTOCOLS = ("grpc", "openapi", "asyncapi", "mcp", "a2a")
BuiltIn = Literal["approval", "form", "email"]
_BUILT_IN: tuple[BuiltIn, ...] = ("approval", "form", "email")
_CATALOG_VERSION = "1.0.0"
_METHOD = re.compile(r"[A-Za-z]{1,32}")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}")  # RFC 9110, 5.6.2
_BREAK = re.compile(r"[\r\n]")
_PROCESSES = ("container", "script", "shell")


def call(reader: TaskReader, fields: Mapping[str, Any], pointer: str) -> Work | None:
    """`call`: HTTP, a function that `use` declares, or one that is built in."""
    name, place = fields["call"], pointer + "/call"
    if not isinstance(name, str):
        reader.refuse("wrong_type", "`call` is the name of a function, such as `http`.", place)
        return None
    if name == "http":
        return _http(reader, fields, pointer)
    if name in _PROTOCOLS:
        message = f"`{name}` is not supported; call HTTP, or a function: {_functions(reader)}."
        reader.refuse("unsupported_task", message, place)
        return None
    if name in reader.declared.get("functions", {}):
        return _function(reader, name, fields, pointer)
    kind = _built_in(reader, name, place)
    if kind is None:
        return None
    return _email(reader, fields, pointer) if kind == "email" else _person(reader, kind, fields, pointer)


def _functions(reader: TaskReader) -> str:
    return listed(["http", *_BUILT_IN, *reader.declared.get("functions", {})])


def _built_in(reader: TaskReader, name: str, pointer: str) -> BuiltIn | None:
    """The built-in function of the name, which may be spelled `name:version@default`."""
    if "://" in name or ("@" in name and not name.endswith("@default")):
        message = f"Functions of other catalogs are not supported; there are {_functions(reader)}."
        reader.refuse("unsupported_feature", message, pointer)
        return None
    known = {kind: kind for kind in _BUILT_IN} | {
        f"{kind}:{_CATALOG_VERSION}@default": kind for kind in _BUILT_IN
    }
    if name not in known:
        message = f"There is no function `{name[:64]}`; there are {_functions(reader)}."
        reader.refuse("unknown_function", message, pointer)
        return None
    return known[name]


# --- Functions ------------------------------------------------------------------------------------------------------


def _function(reader: TaskReader, name: str, fields: Mapping[str, Any], pointer: str) -> Work | None:
    task = function(reader, name, pointer + "/call")
    arguments = None
    if "with" in fields:
        given = reader.object(fields, "with", pointer)
        arguments = reader.template(given, pointer + "/with", reader.visible(BODY))
    return FunctionCall(name, task, arguments) if task else None


def function(reader: TaskReader, name: str, pointer: str) -> Task | None:
    """The task that `use` declares as a function, read once, the levels of tasks in it counted at each call."""
    if name in reader.calling:
        circle = " → ".join([*reader.calling[reader.calling.index(name) :], name])
        reader.refuse("function_cycle", f"Functions call one another in a circle: {circle[:500]}.", pointer)
        return None
    if not reader.room(reader.heights.get(name, 1), pointer):
        return None
    before, reader.deepest = reader.deepest, reader.depth + 1
    reader.depth += 1
    reader.calling.append(name)
    task = reader.declaration("functions", name, pointer, partial(_body, reader, name))
    reader.calling.pop()
    reader.depth -= 1
    reader.heights.setdefault(name, reader.deepest - reader.depth)
    reader.deepest = max(before, reader.depth + reader.heights[name])
    return task


def _body(reader: TaskReader, name: str, value: Any, pointer: str) -> Task | None:
    """A function's own task, whose `then` leads nowhere and is ignored, `end` aside."""
    reader.count(1)
    reader.siblings.append([])
    jumps = len(reader.jumps)
    task = reader.task(name, value, pointer)
    reader.jumps[jumps:] = [jump for jump in reader.jumps[jumps:] if jump[0] != pointer + "/then"]
    reader.siblings.pop()
    if task is None:
        return None
    if pauses(task, reader.pausing):
        reader.pausing.add(name)
    return msgspec.structs.replace(task, then=None)


# --- People ---------------------------------------------------------------------------------------------------------


def _person(
    reader: TaskReader, kind: Literal["approval", "form"], fields: Mapping[str, Any], pointer: str
) -> Work | None:
    place = pointer + "/with"
    given = fields.get("with", {})
    problems, warnings = people.asked_literally(kind, given)
    for problem in problems:
        reader.refuse(problem.code, problem.message, place + problem.pointer)
    for warning in warnings:
        reader.warn(warning.code, warning.message, place + warning.pointer)
    form = given.get("form") if isinstance(given, dict) else None
    if isinstance(form, dict) and not is_computed(form):
        reader.kept_schema(form, place + "/form")
    return PersonCall(kind, reader.template(given, place, reader.visible(BODY)))


# --- E-mail ---------------------------------------------------------------------------------------------------------


def _email(reader: TaskReader, fields: Mapping[str, Any], pointer: str) -> Work:
    place, given = pointer + "/with", fields.get("with", {})
    for problem in mail.asked_literally(given):
        reader.refuse(problem.code, problem.message, place + problem.pointer)
    return EmailCall(reader.template(given, place, reader.visible(BODY)))


# --- HTTP -----------------------------------------------------------------------------------------------------------


def _http(reader: TaskReader, fields: Mapping[str, Any], pointer: str) -> Work | None:
    place, start = pointer + "/with", reader.began
    if "with" not in fields:
        reader.refuse("missing_field", "The field `with` is missing.", place)
        return None
    given = reader.closed(fields["with"], place, _HTTP, ("method", "endpoint"))
    method = reader.text(given, "method", place, (_METHOD, "is the name of an HTTP method, such as GET"))
    literal, uri, proof = (
        _endpoint(reader, given["endpoint"], place) if "endpoint" in given else (None, {}, None)
    )
    arguments = {**uri, **{name: given[name] for name in ("headers", "query", "body") if name in given}}
    for name in ("headers", "query"):
        if name in given:
            _pairs(reader, given[name], below(place, name))
    if "body" in given:
        reader.leaves(given["body"], place + "/body", reader.visible(HTTP))
    secrets = reader.secrets_since(start) | (proof.secrets if proof else frozenset())
    return HttpCall(
        method=(method or "").upper(),
        template=literal,
        arguments=template(arguments, reader.visible(HTTP)),
        authentication=proof.authentication if proof else None,
        output=cast(
            Literal["content", "response", "raw"],
            reader.choice(given, "output", place, ("content", "response", "raw")),
        ),
        redirect=reader.boolean(given, "redirect", place, default=False),
        secrets=tuple(sorted(secrets)),
    )


def _endpoint(
    reader: TaskReader, value: Any, pointer: str
) -> tuple[UriTemplate | None, Mapping[str, Any], Policy | None]:
    """The endpoint where it is literal, the argument `uri` where it is an expression, and the authentication."""
    place, proof, uri = pointer + "/endpoint", None, value
    if isinstance(value, dict):
        shape = reader.closed(value, place, ("uri", "authentication"), ("uri",))
        if "authentication" in shape:
            proof = policy(reader, shape["authentication"], place + "/authentication")
        if "uri" not in shape:
            return None, {}, proof
        place, uri = place + "/uri", shape["uri"]
    if is_expression(uri):
        reader.expression(uri, place, reader.visible(HTTP))
        return None, {"uri": uri}, proof
    if not isinstance(uri, str):
        reader.refuse("wrong_type", "An endpoint is a URI or `${ … }`.", place)
        return None, {}, proof
    return uri_template(reader, uri, place), {}, proof


def _pairs(reader: TaskReader, value: Any, pointer: str) -> None:
    """`headers` or `query`: scalars by their names, or an expression that gives such an object."""
    names, query = reader.visible(HTTP), pointer.endswith("/query")
    if is_expression(value):
        reader.expression(value, pointer, names)
        return
    if not isinstance(value, dict):
        reader.refuse("wrong_type", "This is an object of strings, or `${ … }`.", pointer)
        return
    if len(value) > PAIR_LIMIT:
        reader.refuse("too_large", f"This has at most {PAIR_LIMIT} fields.", pointer)
        return
    for name, one in value.items():
        place = below(pointer, name)
        several = one if query and isinstance(one, list) else [one]
        if any(isinstance(each, dict | list) for each in several):
            kind = "a string, a number or a boolean" + (", or a list of them" if query else "")
            reader.refuse("wrong_type", f"`{name[:64]}` is {kind}.", place)
        if not query and not _HEADER.fullmatch(name):
            reader.refuse("bad_format", "A header's name has letters, digits and hyphens.", place)
        if not query and isinstance(one, str) and not is_expression(one) and _BREAK.search(one):
            reader.refuse("bad_format", "A header has one line.", place)
    reader.leaves(value, pointer, names)


# --- Other workflows ------------------------------------------------------------------------------------------------


def run(reader: TaskReader, fields: Mapping[str, Any], pointer: str) -> Work | None:
    """`run: workflow`."""
    place = pointer + "/run"
    shape = reader.closed(fields["run"], place, ("workflow", *_PROCESSES, "await", "return"))
    for name in _PROCESSES:
        if name in shape:
            message = f"`{name}` is not supported: no processes are run here; call HTTP, or run a workflow."
            reader.refuse("unsupported_task", message, below(place, name))
    returns = reader.choice(shape, "return", place, ("stdout", "none", "stderr", "code", "all"))
    if returns not in {"stdout", "none"}:
        message = f"`{returns}` is of processes; a workflow returns its output, or `none`."
        reader.refuse("unsupported_feature", message, place + "/return")
    awaited = reader.boolean(shape, "await", place, default=True)
    if "workflow" not in shape:
        if not any(name in shape for name in _PROCESSES) and isinstance(fields["run"], dict):
            reader.refuse("missing_field", "The field `workflow` is missing.", place + "/workflow")
        return None
    return _workflow(reader, shape["workflow"], place + "/workflow", awaited=awaited, returns=returns)


def _workflow(reader: TaskReader, value: Any, pointer: str, *, awaited: bool, returns: str) -> RunWorkflow:
    required = ("namespace", "name", "version")
    shape = reader.closed(value, pointer, (*required, "input"), required)
    label = (LABEL, LABEL_RULE)
    namespace, name = (reader.text(shape, one, pointer, label) or "" for one in ("namespace", "name"))
    version = reader.text(shape, "version", pointer) or "latest"
    if version != "latest" and not SEMANTIC_VERSION.fullmatch(version):
        reader.refuse("bad_format", f"`version` {VERSION_RULE}, or `latest`.", pointer + "/version")
    if (namespace, name) == reader.identity:
        message = "This workflow starts itself, each instance another one, until the limit of their depth."
        reader.warn("workflow_cycle", message, pointer)
    given, place = shape.get("input"), pointer + "/input"
    data = None
    if "input" in shape and (isinstance(given, dict) or is_expression(given)):
        data = reader.template(given, place, reader.visible(BODY))
    elif "input" in shape:
        reader.refuse("wrong_type", "`input` is an object or `${ … }`.", place)
    return RunWorkflow(namespace, name, version, data, awaited, "none" if returns == "none" else "output")
