"""Logs: structlog events and the libraries' own records in one stream, JSON or console."""

from __future__ import annotations

import logging
import logging.config
import sys
from typing import Any

import structlog

from app.settings import Settings

_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]

# Chatty at info, or repeating for each try what our own lines say once.
_QUIET = {
    "aiokafka": "CRITICAL",
    "aiokafka.consumer": "ERROR",
    "aiokafka.producer": "ERROR",
    "asyncpg": "CRITICAL",
    "httpx": "WARNING",
    "httpcore": "WARNING",
    "urllib3": "WARNING",
    "faust": "WARNING",
    "mode": "WARNING",
    "aiohttp.access": "WARNING",
}


def configure(settings: Settings) -> None:
    """Set up structlog and the standard library's logging for this process; logs go to standard error."""
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    logging.config.dictConfig(logging_config(settings))


def logging_config(settings: Settings) -> dict[str, Any]:
    """The ``dictConfig`` of the standard library's logging; Faust applies it again when its worker starts."""
    renderer: list[Any]
    if settings.log_format == "json":
        renderer = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        # Plain tracebacks: rich ones print local variables, and with them secrets.
        renderer = [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), pad_event_to=28, exception_formatter=structlog.dev.plain_traceback
            )
        ]
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "clearcall": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": _SHARED,
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
            }
        },
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "stream": "ext://sys.stderr",
                "formatter": "clearcall",
            }
        },
        "root": {"handlers": ["stderr"], "level": settings.log_level.upper()},
        "loggers": {name: {"level": level} for name, level in _QUIET.items()},
    }
