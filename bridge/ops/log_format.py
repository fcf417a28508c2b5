"""Formats of log records: lines of text for people, lines of JSON for programs.

Records of the standard library and of structlog pass through the same processors, of which the
last but one redacts secrets.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import structlog
from structlog.stdlib import ExtraAdder, ProcessorFormatter

from bridge.ops.redaction import HIDDEN, is_secret_name
from bridge.ops.terminal import DIM, RED, YELLOW, coloured

if TYPE_CHECKING:
    import logging
    from collections.abc import MutableMapping

    from structlog.typing import EventDict, Processor

    from bridge.ops.redaction import Redactor

LogFormat: TypeAlias = Literal["auto", "text", "json"]

COLOURS: Final = {"CRITICAL": RED, "ERROR": RED, "WARNING": YELLOW, "DEBUG": DIM}

_HEAD: Final = ("time", "level", "logger", "process", "message", "exception", "stack")
"""Members of a record; all others are fields of its own."""


def formatter(
    form: Literal["text", "json"], redactor: Redactor, *, process: str = "", colours: bool = False
) -> logging.Formatter:
    """Return a formatter for handlers. `process` names this process, where several of them share
    a stream.
    """

    def add_head(_logger: Any, _method: str, event: EventDict) -> EventDict:
        record: logging.LogRecord = event["_record"]
        time = datetime.fromtimestamp(record.created).astimezone()
        named = {"process": process} if process else {}
        rest = {name: event[name] for name in event if name not in ("event", *_HEAD)}
        return {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            **named,
            "message": event["event"],
            **rest,
            **{name: event[name] for name in ("exception", "stack") if name in event},
        }

    def redact(_logger: Any, _method: str, event: EventDict) -> EventDict:
        return {name: _redacted(value, redactor) for name, value in event.items()}

    def line(_logger: Any, _method: str, event: EventDict) -> str:
        return _text(event, colours=colours) if form == "text" else _json(event)

    shared: list[Processor] = [
        structlog.processors.format_exc_info,
        structlog.processors.StackInfoRenderer(),
        add_head,
        ProcessorFormatter.remove_processors_meta,
        redact,
        line,
    ]
    return ProcessorFormatter(
        foreign_pre_chain=[ExtraAdder()],
        processors=shared,
        use_get_message=True,
    )


def configure_structlog() -> None:
    """Let loggers of structlog, of which an extension may have some, log as those of the standard
    library do.
    """
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _redacted(value: Any, redactor: Redactor) -> Any:
    """Return the value with all secrets redacted, as JSON can hold it. It is done before the value
    is encoded: an escaped secret would not be found.
    """
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {
            redactor.text(str(name)): HIDDEN
            if each and is_secret_name(str(name))
            else _redacted(each, redactor)
            for name, each in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_redacted(each, redactor) for each in value]
    return redactor.text(str(value))


def _json(event: MutableMapping[str, Any]) -> str:
    return json.dumps(event, ensure_ascii=False)


def _text(event: MutableMapping[str, Any], *, colours: bool) -> str:
    """Return one line: time, level, logger, message and fields. Fields that are mappings follow it,
    one indented line per member, and so does a traceback.
    """
    level = event["level"].upper()
    named = f"[{event['process']}] " if "process" in event else ""
    message = event["message"]
    time = coloured(event["time"], DIM, on=colours)
    shown = coloured(f"{level:<7}", COLOURS.get(level, ""), on=colours)
    lines = [f"{time} {shown} {named}{event['logger']}: {message}"]
    for name, value in event.items():
        if name in _HEAD:
            continue
        if isinstance(value, dict):
            width = max(map(len, value), default=0)
            lines += [f"  {each:<{width}}  {_shown(value[each])}" for each in value]
        elif str(value) not in message:
            lines[0] += f" {name}={value}"
    lines += [event[name] for name in ("exception", "stack") if name in event]
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(each)}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value in (None, "") else str(value)
