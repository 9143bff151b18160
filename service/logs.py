"""The service's log: one JSON object for each line, on stderr."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from lineage.model.access import without_tokens


class JsonLines(logging.Formatter):
    """A record as one line of JSON: ``at`` (UTC), ``level``, ``logger``, ``message``, what else is known, and ``trace`` of an error."""

    def format(self, record: logging.LogRecord) -> str:
        """The line. What looks like an access token is blotted out, wherever it stands."""
        told = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            told["trace"] = self.formatException(record.exc_info)
        return without_tokens(json.dumps(told, ensure_ascii=False, default=str))


def configure(level: int) -> None:
    """Send the log of the service and its server to stderr.

    Args:
        level: Of :mod:`logging`; a line for each request is ``INFO``.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("service", "uvicorn", "opentelemetry"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level if name == "service" else max(level, logging.WARNING))
        logger.propagate = False
