"""Log lines: JSON, one object a line, on standard error."""

import logging
import sys
import traceback
from datetime import UTC, datetime

import msgspec


class JsonLines(logging.Formatter):
    """Writes a record as one JSON object; a traceback becomes a field of it."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = "".join(traceback.format_exception(record.exc_info[1]))
        whole = {name: text.encode(errors="replace").decode() for name, text in line.items()}
        return msgspec.json.encode(whole).decode()


def configure_logging(level: str) -> None:
    """Send every logger's lines through `JsonLines`; libraries speak up from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("tutti").setLevel(level.upper())
