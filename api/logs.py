"""Logs: one JSON object a line on standard error, ours and the libraries' alike.

Never bodies, headers or cookies: whoever reads a log must not find a token there.
"""

import logging
import logging.config
import sys
from typing import Any

import structlog
from structlog.typing import Processor

SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]
# Every 202 would be a line: at a sale's peak that costs more than the sale.
LEVELS = {"uvicorn.access": "CRITICAL", "uvicorn.error": "INFO", "uvicorn": "INFO"}


class Deaf(logging.Filter):
    """Drops what anybody could fill a disk with: uvicorn warns of every malformed request."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.msg != "Invalid HTTP request received."


def configure() -> None:
    """Set structlog up, and lead the standard library's loggers through it."""
    structlog.configure(
        processors=[*SHARED, structlog.processors.JSONRenderer()],
        # Looked up each time: whoever replaces standard error, and closes theirs, is followed.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.config.dictConfig(standard_library())


def standard_library() -> dict[str, Any]:
    """The logging configuration, as `logging.config` and uvicorn take it."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {
                "()": structlog.stdlib.ProcessorFormatter,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.processors.JSONRenderer(),
                ],
                "foreign_pre_chain": SHARED,
            }
        },
        "filters": {"deaf": {"()": Deaf}},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "json",
                "filters": ["deaf"],
            }
        },
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {name: {"level": level} for name, level in LEVELS.items()},
    }
