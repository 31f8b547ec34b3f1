"""Forms of work items as a page asks them: the properties of a JSON Schema as inputs, and what was typed as JSON again.

Strings, numbers, integers, booleans and choices have inputs of their own; anything else is written as JSON. An input only
helps: what was typed is held against the whole schema where every answer is. What is left blank is left out.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

Kind = Literal["text", "email", "url", "date", "long", "integer", "number", "choice", "json"]

MOST_INPUTS = 50  # a schema with more properties is answered as JSON
MOST_CHOICES = 100
LONG_TEXT = 200  # characters that a text may have before it gets several lines

KINDS: Mapping[str, Kind] = {"string": "text", "integer": "integer", "number": "number"}
FORMATS: Mapping[str, Kind] = {"email": "email", "uri": "url", "date": "date"}
LIMITS: Mapping[str, Mapping[str, str]] = {
    **{
        kind: {"minLength": "minlength", "maxLength": "maxlength"}
        for kind in ("text", "email", "url", "long")
    },
    **{kind: {"minimum": "min", "maximum": "max"} for kind in ("integer", "number")},
}
YES_OR_NO = ("Yes", "No")
READ_AS: Mapping[Kind, Any] = {"integer": int | float, "number": int | float, "json": Any}
ADVICE: Mapping[Kind, str] = {
    **dict.fromkeys(("integer", "number"), "Write a number, such as 12 or 12.5."),
    "json": "This is not JSON.",
}
OBJECT = 'Write a JSON object, such as {"name": "value"}.'


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to fill in: the property that it is for, None for all of them as one JSON object.

    `choices` are the values of its options, `limits` the attributes that let a browser help.
    """

    name: str
    of: str | None
    kind: Kind
    label: str
    hint: str = ""
    required: bool = False
    choices: tuple[Any, ...] = ()
    limits: Mapping[str, Any] = {}
    default: Any = None

    @property
    def options(self) -> list[tuple[str, str]]:
        """The choices as a page names them: the value that a form sends, and what people read."""
        return [(str(place), choice_text(one)) for place, one in enumerate(self.choices)]

    def text(self, value: Any) -> str:
        """Write a value as the input holds it; an empty text for None."""
        if value is None:
            return ""
        if self.kind == "choice":
            return next((str(place) for place, one in enumerate(self.choices) if same(one, value)), "")
        if isinstance(value, str) and self.kind != "json":
            return value
        return msgspec.json.format(msgspec.json.encode(value)).decode()

    def value(self, text: str) -> Any:
        """Read what was typed.

        Raises:
            ValueError: with what is wrong with it, for whoever typed it.
        """
        if self.kind == "choice":
            by_place = {str(place): one for place, one in enumerate(self.choices)}
            if text not in by_place:
                raise ValueError("Choose one of the options.")
            return by_place[text]
        if self.kind not in ADVICE:
            return text
        try:
            found = msgspec.json.decode(
                text.strip(), type=dict[str, Any] if self.of is None else READ_AS[self.kind]
            )
        except (msgspec.DecodeError, RecursionError):
            raise ValueError(ADVICE[self.kind] if self.of else OBJECT) from None
        return found


def inputs_of(form: Any) -> tuple[Input, ...]:
    """Say what a page asks for a JSON Schema; nothing where there is none."""
    if form is None:
        return ()
    properties = form.get("properties") if isinstance(form, dict) else None
    required = form.get("required", []) if isinstance(form, dict) else []
    if (
        not isinstance(properties, dict)
        or not 0 < len(properties) <= MOST_INPUTS
        or set(required) - set(properties)
    ):
        schema = msgspec.json.format(msgspec.json.encode(form)).decode()
        hint = f"A JSON object that fits this JSON Schema: {schema}"
        return (
            Input(
                name="field",
                of=None,
                kind="json",
                label="Answer as JSON",
                hint=hint,
                required=True,
                default={},
            ),
        )
    return tuple(
        one_input(f"field{place}", name, schema, required=name in required)
        for place, (name, schema) in enumerate(properties.items())
    )


def one_input(name: str, of: str, schema: Any, *, required: bool) -> Input:
    """Say what a page asks for one property."""
    known = schema if isinstance(schema, dict) else {}
    kind, choices = kind_of(known)
    title, hint = known.get("title"), known.get("description")
    limits = {
        attribute: known[keyword]
        for keyword, attribute in LIMITS.get(kind, {}).items()
        if isinstance(known.get(keyword), int if kind == "integer" else int | float)
    }
    hint = hint if isinstance(hint, str) else ""
    if kind == "json":
        schema_text = msgspec.json.encode(schema).decode()
        hint = f"{hint} Written as JSON that fits this JSON Schema: {schema_text}".strip()
    label = title if isinstance(title, str) and title.strip() else of
    return Input(
        name=name,
        of=of,
        kind=kind,
        label=label,
        hint=hint,
        required=required,
        choices=choices,
        limits=limits,
        default=known.get("default"),
    )


def kind_of(schema: Mapping[str, Any]) -> tuple[Kind, tuple[Any, ...]]:
    """Choose the input for a property, and its choices if it has some."""
    choices = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(choices, list):
        few = 0 < len(choices) <= MOST_CHOICES and not any(
            isinstance(one, dict | list) or one is None for one in choices
        )
        return ("choice", tuple(choices)) if few else ("json", ())
    kind = schema.get("type")
    if kind == "boolean":
        return "choice", (True, False)
    if not isinstance(kind, str) or kind not in KINDS:
        return "json", ()
    if kind != "string":
        return KINDS[kind], ()
    most = schema.get("maxLength")
    long = isinstance(most, int) and most > LONG_TEXT
    wanted = schema.get("format")
    return ("long" if long else FORMATS.get(wanted, "text") if isinstance(wanted, str) else "text"), ()


def typed(inputs: tuple[Input, ...], form: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Read a form: the fields of an answer, and by input's name what is wrong with those that cannot be read."""
    fields: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for one in inputs:
        text = form.get(one.name, "").replace("\r\n", "\n")
        if not text.strip():
            continue
        try:
            value = one.value(text)
        except ValueError as error:
            wrong[one.name] = str(error)
            continue
        if one.of is None:
            fields |= value
        else:
            fields[one.of] = value
    return fields, wrong


def choice_text(value: Any) -> str:
    """Write a choice for people."""
    if isinstance(value, bool):
        return YES_OR_NO[not value]
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same; true is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)
