"""From the bytes of a JSON or YAML text to its value, or to what keeps it from being read (contract 1)."""

import json
from typing import Any

import yaml

from service.language.values import Unreadable, inspected, integer, object_of, real, refused, too_deep
from service.language.yaml_text import Composer

TEXT_LIMIT = 256 * 1024  # bytes; contract 1.6, a suggested limit


def parse_json(text: bytes) -> Any:
    """The value of a JSON text with integers exact, or `DocumentRefused`."""
    source = _decoded(text, "json_invalid")
    try:
        value = json.loads(
            source,
            object_pairs_hook=object_of,
            parse_int=integer,
            parse_float=real,
            parse_constant=_no_constant,
        )
    except json.JSONDecodeError as error:
        raise refused(
            "json_invalid", f"{error.msg} at line {error.lineno}, column {error.colno}.", ""
        ) from None
    except Unreadable as error:
        raise refused("json_invalid", str(error), "") from None
    except RecursionError:
        raise too_deep("") from None
    return inspected(value, "json_invalid")


def parse_yaml(text: bytes) -> Any:
    """The value of a YAML 1.2 text (core schema, JSON's values only), or `DocumentRefused`."""
    source = _decoded(text, "yaml_invalid")
    try:
        value = Composer(yaml.parse(source, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))).document()
    except yaml.MarkedYAMLError as error:
        raise refused(
            "yaml_invalid", _marked(error.problem or "cannot be read", error.problem_mark), ""
        ) from None
    except (yaml.YAMLError, Unreadable) as error:
        raise refused("yaml_invalid", str(error), "") from None
    return inspected(value, "yaml_invalid")


def _decoded(text: bytes, code: str) -> str:
    """The characters, once size and encoding are known to be harmless."""
    if len(text) > TEXT_LIMIT:
        raise refused("too_large", f"A definition has at most {TEXT_LIMIT // 1024} KiB.", "")
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise refused(code, f"The text is not UTF-8: {error.reason} at byte {error.start}.", "") from None


def _no_constant(name: str) -> Any:
    raise Unreadable(f"{name} is no JSON value.")


def _marked(message: str, mark: Any) -> str:
    where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"{message}{where}. Quote a text that holds ': ' or ' #'."
