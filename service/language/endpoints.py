"""Reading URI templates: literal endpoints with `{name}`, the name of a property of the input, in them (contract 2.2)."""

import re

import msgspec

from service.language.document import UriTemplate
from service.language.fields import FieldReader

_SCHEME = re.compile(r"https?://[^/\s?#]", re.IGNORECASE)
_NAME = re.compile(r"\{([^{}]*)\}")
# What RFC 6570 gives a meaning that the language does not have, and `$`, which would be taken for an argument.
_OPERATORS = frozenset("+#./;?&=,!@|$")

# One property as text that is safe in a URI: what is missing is empty, what has no text fails.
_PROPERTY = (
    'if type == "object" then .[{name}] else null end | if . == null then "" '
    'elif type == "object" or type == "array" then error("a URI takes no \\(type)") else tostring | @uri end'
)


def uri_template(reader: FieldReader, text: str, pointer: str) -> UriTemplate:
    """The texts of a literal endpoint, the names of the properties between them."""
    parts = tuple(_NAME.split(text))
    if not _SCHEME.match(text):
        reader.refuse(
            "bad_format", "An endpoint starts with `http://` or `https://`, or is `${ … }`.", pointer
        )
    elif any("{" in part or "}" in part for part in parts[::2]) or not all(parts[1::2]):
        message = "Braces enclose the name of one property of the input, such as `{id}`; write others as %7B and %7D."
        reader.refuse("bad_format", message, pointer)
    elif any(part[0] in _OPERATORS for part in parts[1::2]):
        message = "A URI template takes `{name}` alone, the name of a property of the input; for more write `${ … }`."
        reader.refuse("bad_format", message, pointer)
    elif any(character.isspace() or not character.isprintable() for part in parts[::2] for character in part):
        reader.refuse("bad_format", "An endpoint has no blanks or control characters; write %20.", pointer)
    return UriTemplate(parts)


def as_jq(text: str) -> str:
    """The jq that fills a URI template in, for a place that is evaluated together with others."""
    pieces = [msgspec.json.encode(part).decode() for part in _NAME.split(text)]
    pieces[1::2] = [f"({_PROPERTY.replace('{name}', name)})" for name in pieces[1::2]]
    return f"${{ {' + '.join(pieces)} }}"
