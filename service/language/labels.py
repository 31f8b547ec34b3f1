"""How workflows are named: namespaces, names and versions (contract 1.2)."""

import re

LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
LABEL_RULE = "has 1 to 63 letters, digits and hyphens, the first and the last being no hyphen"

_NUMERIC = r"(?:0|[1-9][0-9]*)"
_PRE_RELEASE = rf"(?:{_NUMERIC}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
SEMANTIC_VERSION = re.compile(
    rf"{_NUMERIC}\.{_NUMERIC}\.{_NUMERIC}(?:-{_PRE_RELEASE}(?:\.{_PRE_RELEASE})*)?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
VERSION_RULE = "is a full semantic version such as 1.0.0"
