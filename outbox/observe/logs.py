"""Log lines: structlog on stderr, for people or as JSON, with no bot token in them; and what a worker's events say."""

import logging
import sys
import time
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Final, Literal

import structlog

from outbox.deliver import events
from outbox.observe.sampling import Sampler
from outbox.redact import RedactingFilter, scrub_event

SAME_WITHIN_S: Final = 10.0  # a database that is away fails several times a second, and once in this is said

_SENT: Final = "sent"

_Outcome = events.Sent | events.Waited | events.Retried | events.Uncertain | events.Died

_NO_LOCALS: Final = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)


def set_up_logs(form: Literal["console", "json"], *, verbose: bool = False) -> None:
    """Send every log line of this process, of libraries too, to stderr. `verbose` adds lines for debugging."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Exceptions become text (or plain values) before the scrubber, and without locals: a bot token may be one.
    if form == "json":
        exceptions: Any = structlog.processors.ExceptionRenderer(_NO_LOCALS)
        renderer: Any = structlog.processors.JSONRenderer(ensure_ascii=False)
    else:
        exceptions = structlog.processors.format_exc_info
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    level = logging.DEBUG if verbose else logging.INFO
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_RedactOthers())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                exceptions,
                _scrub,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("outbox").setLevel(level)
    # It says each failed attempt to connect; the worker says that the database is away.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    # A job cancelled at the stop, or late because the database is away, is no news: housekeeping says what failed.
    logging.getLogger("apscheduler").setLevel(logging.CRITICAL)


def _scrub(logger: Any, method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    return scrub_event(logger, method, dict(event))


class EventLog:
    """Writes a worker's events as log lines: what an operator must see, and one per outcome, sampled when busy."""

    def __init__(
        self, worker: str, now: Callable[[], float] = time.monotonic, *, sampler: Sampler | None = None
    ) -> None:
        """`worker` stands in each line. No `sampler`: every outcome has its line."""
        self._log = structlog.stdlib.get_logger("outbox").bind(worker=worker)
        self._now = now
        self._said_s: dict[tuple[str, str], float] = {}
        self._verdicts: dict[str, bool | None] = {}
        self._sampler = sampler
        self._sent = None if sampler is None else sampler.kind(_SENT)

    def __call__(self, event: events.Event) -> None:
        if type(event) is events.Sent and self._sent is not None and self._sent.leave_out():
            return
        match event:
            case events.Claimed() | events.ClaimDone() | events.Flushed():
                pass  # first, with the next one: they come with every message
            case events.Sent():
                self._tell_outcome(self._log.info, _SENT, event)
            case events.Started():
                self._log.info("started", bots=", ".join(event.bots))
            case events.Stopped():
                self._tell_end(event)
            case events.TokenChecked():
                self._tell_token(event)
            case events.BotIsAnother():
                self._log.error(
                    f"bot {event.bot!r} is not served: its token is of Telegram bot {event.present}, the database knows"
                    f" it as {event.remembered}. Set that bot's token, or stop all workers and run outbox adopt"
                )
            case events.TokensRead():
                self._log.info(
                    "bot tokens read again",
                    added=", ".join(event.added),
                    replaced=", ".join(event.replaced),
                    removed=", ".join(event.removed),
                )
            case events.TokensNotRead():
                self._log.error(f"the bot tokens from before stay in use: {event.error}")
            case events.LeaseTaken():
                say = self._log.info if event.reason == "start" else self._log.warning
                say("lease taken", incarnation=event.incarnation, reason=event.reason)
            case events.DatabaseFailed():
                self._tell_rarely((event.call, event.error), "database call failed", call=event.call, error=event.error)
            case events.BellTested() if not event.works:
                self._tell_rarely(("bell", ""), "NOTIFY does not reach this worker: polling instead")
            case events.Spooled():
                self._tell_rarely(("spooled", ""), "results kept on the disk", results=event.results, bytes=event.bytes)
            case events.SpoolFull():
                self._log.error(
                    "the spool is full: more results stay in memory, nothing is claimed until the database takes them",
                    results=event.results,
                    bytes=event.bytes,
                )
            case events.SpoolRead():
                say = self._log.warning if event.skipped else self._log.info
                say("results of an earlier process", results=event.results, skipped=event.skipped)
            case events.SpoolLeft():
                self._log.warning(
                    f"{event.folder} holds results for other databases: start a worker on theirs, or remove the files",
                    files=event.files,
                )
            case events.SpoolFailed():
                self._tell_rarely(
                    ("spool", event.path), "results stay in memory only", path=event.path, error=event.error
                )
            case events.Reaped():
                self._log.warning("released lanes of a worker that is gone", lanes=event.lanes)
            case events.Died():
                self._tell_outcome(self._log.warning, "dead letter", event)
            case events.Uncertain():
                self._tell_outcome(self._log.warning, "uncertain", event)
            case events.Waited():
                self._tell_outcome(self._log.info, "429", event)
            case events.Retried():
                self._tell_outcome(self._log.info, "comes again", event)
            case events.GivenBack():
                self._tell_given_back(event)
            case _:
                pass

    def _tell_outcome(self, say: Callable[..., None], text: str, event: _Outcome) -> None:
        left_out = 0 if self._sampler is None else self._sampler.take(text)
        if left_out is not None:
            say(text, **_facts(event), **({"not_logged": left_out} if left_out else {}))

    def _tell_given_back(self, event: events.GivenBack) -> None:
        is_end = event.reason == "not_allowed"
        text = "discarded" if is_end else "given back"
        left_out = 0 if self._sampler is None else self._sampler.take(text)
        if left_out is None:
            return
        say = self._log.info if is_end else self._log.debug
        say(
            text,
            bot=event.bot,
            chat_id=event.chat_id,
            message_id=event.message_id,
            attempt=event.attempt,
            correlation_id=event.correlation_id,
            reason=event.reason,
            **({"not_logged": left_out} if left_out else {}),
        )

    def _tell_end(self, event: events.Stopped) -> None:
        say = self._log.info
        if event.unflushed:
            say = self._log.warning if event.spooled >= event.unflushed else self._log.error
        say("stopped", given_back=event.given_back, unflushed=event.unflushed, spooled=event.spooled)

    def _tell_token(self, event: events.TokenChecked) -> None:
        # A refused one is asked about again and again: only what changed is news.
        before = self._verdicts.get(event.bot, True)
        self._verdicts[event.bot] = event.accepted
        if event.accepted == before:
            return
        if event.accepted is False:
            self._log.error(
                f"bot {event.bot!r}: Telegram refuses its bot token, its messages wait. Set the token @BotFather shows",
                http_status=event.http_status,
                error=event.error_text,
            )
        elif event.accepted is None:
            self._log.warning(f"bot {event.bot!r}: its bot token could not be checked", error=event.error_text)
        else:
            self._log.info(f"bot {event.bot!r}: Telegram takes its bot token")

    def _tell_rarely(self, key: tuple[str, str], text: str, **facts: Any) -> None:
        now = self._now()
        if now - self._said_s.get(key, float("-inf")) < SAME_WITHIN_S:
            return
        if len(self._said_s) > 1000:
            self._said_s.clear()
        self._said_s[key] = now
        self._log.warning(text, **facts)


def _facts(event: _Outcome) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "bot": event.bot,
        "chat_id": event.chat_id,
        "message_id": event.message_id,
        "attempt": event.attempt,
        "method": event.method,
        "correlation_id": event.correlation_id,
        "duration_s": round(event.duration_s, 4),
        "http_status": event.http_status,
        "error_class": event.error_class,
        "error_text": event.error_text,
        "retry_after_s": event.retry_after_s,
        "telegram_message_id": event.telegram_message_id if isinstance(event, events.Sent) else None,
    }
    # Most lines are of messages sent, and most of these would be empty.
    return {name: value for name, value in facts.items() if value is not None}


class _RedactOthers(RedactingFilter):
    """For lines of libraries: ours are scrubbed as values, when their exception is text."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.msg, dict):
            return True
        super().filter(record)
        # Otherwise the formatter prints it behind the line, and what was JSON is none.
        for more in (record.exc_text, record.stack_info):
            if more:
                record.msg = f"{record.msg}\n{more}"
        record.exc_text = record.stack_info = None
        return True
