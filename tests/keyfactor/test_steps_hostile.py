"""Steps with anything in them: they are refused in words, or become a definition that the language takes."""

import msgspec
from hypothesis import event, given, settings
from hypothesis import strategies as st

from service.keyfactor.steps import Step, StepsRefused
from service.keyfactor.steps.kinds import KINDS
from service.keyfactor.steps.parameters import Type
from service.language.document import DocumentRefused
from service.language.reading import read
from tests.keyfactor.stepping import made

TEXT = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            "",
            "StartNOOP",
            "a",
            "b",
            "$(a)",
            "$(a.b) ${ . }",
            "${ $secrets.x }",
            "http://x/$(a)",
            "True",
            "{x}",
            "\\(",
        ]
    ),
)
SCALAR = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 200), st.floats(allow_nan=False, allow_infinity=False), TEXT
)
VALUE = st.recursive(
    SCALAR,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=6,
)


FITTING: dict[Type, st.SearchStrategy[object]] = {
    Type.TEXT: TEXT,
    Type.LONG_TEXT: TEXT,
    Type.NUMBER: st.integers(1, 100),
    Type.TEXTS: st.lists(st.sampled_from(["a@b.example", "$(a)"]), min_size=1, max_size=3),
    Type.HEADERS: st.dictionaries(
        st.sampled_from(["A", "B-C", "a", "x y"]), st.lists(TEXT, max_size=2), max_size=2
    ),
    Type.SECRET: st.one_of(st.none(), TEXT),
    Type.CHOICE: st.sampled_from(["get", "POST", "x"]),
}
URLS = st.one_of(st.sampled_from(["http://x.example/$(a)?b=$(b)", "$(base)/a", "https://x.example"]), TEXT)


def parameters(kind: str) -> st.SearchStrategy[dict[str, object]]:
    """Parameters of a kind of step, of which most have a value that fits."""
    known = {
        one.name: URLS if one.name in ("URL", "TokenEndpoint") else FITTING[one.type]
        for one in KINDS[kind].parameters
    }
    needed = {one.name for one in KINDS[kind].parameters if one.required}
    fitting = st.fixed_dictionaries(
        {name: known[name] for name in sorted(needed)},
        optional={name: one for name, one in known.items() if name not in needed},
    )
    return st.one_of(fitting, fitting, st.fixed_dictionaries({}, optional=dict.fromkeys(known, VALUE)))


@st.composite
def step(draw: st.DrawFn) -> Step:
    """A step with anything in it."""
    kind = draw(st.sampled_from([*KINDS, *KINDS, "PowerShell"]))
    waits = kind == "RequireApproval" or draw(st.integers(0, 9)) == 0
    told = {
        "ExtensionName": kind,
        "UniqueName": draw(st.one_of(st.sampled_from(["a", "b", "StartNOOP", "EndNOOP"]), TEXT)),
        "DisplayName": draw(st.one_of(st.none(), TEXT)),
        "Enabled": draw(st.one_of(st.none(), st.booleans())),
        "ConfigurationParameters": draw(parameters(kind) if kind in KINDS else st.just({})),
        "Signals": draw(
            st.lists(
                st.fixed_dictionaries(
                    {
                        "SignalName": st.sampled_from(["ApprovalStatus"] * 4 + ["x", None]),
                        "RoleIds": st.lists(st.integers(1, 5), min_size=1, max_size=3),
                    }
                ),
                max_size=1,
            )
            if waits
            else st.none()
        ),
        "Conditions": draw(st.lists(st.fixed_dictionaries({"Value": st.sampled_from([True, "False", "$(a)", "$(a.b)", "x", None])}), max_size=2)),
        "Outputs": draw(st.dictionaries(st.sampled_from(["continue", "x"]), st.one_of(st.none(), st.sampled_from(["a", "b", "EndNOOP"])), max_size=1)),
    }  # fmt: skip
    return msgspec.convert(told, Step)


def takes(*steps: Step) -> bool:
    """Whether steps become a definition."""
    try:
        found = made(*[msgspec.to_builtins(one) for one in steps])
    except StepsRefused:
        return False
    try:
        read(msgspec.json.decode(msgspec.json.encode(found.document)))
    except DocumentRefused:
        return False
    again = made(*found.document["document"]["metadata"]["keyfactor"]["Steps"])
    assert again.document == found.document, "what is kept makes the same definition again"
    return True


@settings(max_examples=50, deadline=None)
@given(st.lists(step(), max_size=3))
def test_anything_is_refused_or_becomes_a_definition(steps: list[Step]) -> None:
    event(f"taken: {takes(*steps)}")


@settings(max_examples=120, deadline=None)
@given(step())
def test_any_single_step_is_refused_or_becomes_a_definition(one: Step) -> None:
    event(f"taken: {takes(msgspec.structs.replace(one, unique_name='a', outputs={}, display_name=None))}")
