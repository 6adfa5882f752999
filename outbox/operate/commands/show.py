"""outbox show"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import click
import psycopg

from outbox.operate.console import (
    CommandFailed,
    Connection,
    age,
    ago,
    clock,
    connected,
    facts,
    json_option,
    note,
    print_json,
    say,
    shown,
    table,
)
from outbox.operate.find_message import MOST, Row, expected, explain, find, in_words, label, note_limit
from outbox.operate.times import in_utc
from outbox.operate.words import WAITING, priority_name

SUPPRESSED = "chat_suppressed"  # as sql/2_claim/end_unwanted.sql


@click.command("show")
@click.argument("message", metavar="ID|CORRELATION_ID")
@click.option("--payload", is_flag=True, help="Also what it says. Takes role outbox_admin, and is audited.")
@json_option
def command(message: str, payload: bool, as_json: bool) -> None:
    """Show what became of one message: every attempt and wait, and why.

    \b
    By its id, or by the correlation id that the application gave it; several messages with one
    correlation id are listed. Of one that waits, the reasons are those of `outbox explain`.

    \b
      outbox show 17
      outbox show order-4711
      outbox show 17 --json | jq .messages[0].timeline

    \b
    Exit: 0 found, 1 not found or failed, 2 wrong usage
    """
    with connected("show") as connection:
        found = find(connection, message)
        note_limit(found)
        if found.by_id is not None or len(found.by_correlation_id) == 1:
            detail = _read(connection, found.messages[0], payload)
            if as_json:
                print_json({"messages": [detail, *found.messages[1:]]})
                return
            _print(detail, payload)
            if found.messages[1:]:
                click.echo()
                _list(f"also with the correlation id {shown(message)}", found.messages[1:], detail["now"])
            return
        now = clock(connection)
    if as_json:
        print_json({"messages": found.messages})
        return
    if payload:
        note("--payload is for one message: give its id.")
    _list(f"messages with the correlation id {shown(message)}", found.messages, now)
    if len(found.messages) == MOST:
        note(f"only the newest {MOST} are shown.")


def _read(connection: Connection, message: Row, payload: bool) -> Row:
    """Return a message with its timeline, why it waits, and its payload where that is asked for."""
    detail = dict(message)
    detail["timeline"] = connection.execute(
        "SELECT at, what, details, worker, duration_s, http_status, waits_until FROM outbox.timeline(%s::bigint)",
        (message["id"],),
    ).fetchall()
    detail["explain"] = explain(connection, message["id"]) if message["status"] in WAITING else None
    detail["now"] = clock(connection)
    if payload:
        detail["payload"] = _read_payload(connection, message["id"])
    return detail


def _read_payload(connection: Connection, message_id: int) -> Any:
    try:
        row = connection.execute(
            "SELECT outbox.payload(%(id)s::bigint) AS payload,"
            " outbox.note_action('payload', jsonb_build_object('id', %(id)s::bigint), 1)",
            {"id": message_id},
        ).fetchone()
    except psycopg.errors.InsufficientPrivilege:
        raise CommandFailed(
            "this login may not read payloads: leave --payload out, or use a login with role outbox_admin."
        ) from None
    assert row is not None
    return row["payload"]


def _print(detail: Row, payload: bool) -> None:
    now = detail["now"]
    facts(
        [
            ("message", detail["id"]),
            ("status", _status(detail, now)),
            ("last error" if detail["status"] in WAITING else "why", _why(detail)),
            ("bot", detail["bot"]),
            ("chat", detail["chat_id"]),
            ("method", detail["method"]),
            ("priority", priority_name(detail["priority"])),
            ("tag", detail["tag"]),
            ("correlation id", detail["correlation_id"]),
            ("accepted", _ago(detail["created_at"], now)),
            ("scheduled for", detail["scheduled_for"] if detail["scheduled_for"] > detail["created_at"] else None),
            ("ended", detail["finished_at"] and _ago(detail["finished_at"], now)),
            ("attempts", detail["attempts"]),
            ("Telegram's id", detail["telegram_message_id"]),
            *_waiting(detail["explain"]),
        ]
    )
    if detail["timeline"]:
        click.echo()
        _print_timeline(detail["timeline"])
    if payload:
        click.echo()
        if detail["payload"] is None:
            say("payload: not kept")
        else:
            say("payload:")
            _print_payload(detail["payload"])
    if detail["status"] in ("dead", "uncertain"):
        click.echo()
        say(f"It is a dead letter: outbox dead retry {detail['id']}, or outbox dead discard {detail['id']}")
    elif detail["error_class"] == SUPPRESSED and detail["status"] not in WAITING:
        chat = f"{detail['chat_id']} --bot {detail['bot']}"
        click.echo()
        say(f"Its chat had refused an earlier message: outbox suppress list {chat}, or outbox suppress lift {chat}")


def _waiting(explained: Row | None) -> Iterator[tuple[str, Any]]:
    if explained is not None:
        yield from label("waits because", map(in_words, explained["reasons"]))
        yield "will be sent", expected(explained)


def _print_payload(payload: Any) -> None:
    # As it is: what is no ASCII letter stays readable, what a terminal would obey does not stay.
    for line in json.dumps(payload, indent=2, ensure_ascii=False).splitlines():
        say(line)


def _print_timeline(timeline: list[Row]) -> None:
    days = {at.astimezone(UTC).date() for event in timeline for at in (event["at"], event["waits_until"]) if at}
    short = len(days) == 1
    table(
        f"{days.pop()} (UTC)" if short else None,
        ["time" if short else "time (UTC)", "what", "details"],
        [[_time(event["at"], short), event["what"], _details(event, short)] for event in timeline],
    )


def _details(event: Row, short: bool) -> str | None:
    """Return what is not among the facts above: those that were accepted say nothing new."""
    if event["what"] == "accepted":
        return None
    until = f", until {_time(event['waits_until'], short)}" if event["waits_until"] else ""
    about = ", ".join(
        part
        for part in (
            f"HTTP {event['http_status']}" if event["http_status"] else "",
            f"{event['duration_s']:.2f} s" if event["duration_s"] is not None else "",
            event["worker"] or "",
        )
        if part
    )
    return f"{event['details'] or ''}{until}{f' [{about}]' if about else ''}"


def _time(at: datetime, short: bool) -> str:
    """Return a time to the millisecond: of a timeline, the order matters."""
    written = at.astimezone(UTC).isoformat(" ", "milliseconds").removesuffix("+00:00")
    return written.partition(" ")[2] if short else written


def _status(detail: Row, now: datetime) -> str:
    until = detail["next_attempt_at"]
    if detail["status"] == "queued" and until is not None and until > now:
        return f"queued, not before {in_utc(until)} (in {age((until - now).total_seconds())})"
    return str(detail["status"])


def _why(detail: Row) -> str:
    return ": ".join(part for part in (detail["error_class"], detail["error_text"]) if part)


def _ago(at: datetime, now: datetime) -> str:
    return f"{in_utc(at)} ({ago(at, now)})"


def _list(title: str, messages: list[Row], now: datetime) -> None:
    table(
        title,
        ["id", "status", "bot", "chat", "tag", "accepted", "attempts", "why"],
        [
            [
                row["id"],
                row["status"],
                row["bot"],
                row["chat_id"],
                row["tag"],
                ago(row["created_at"], now),
                row["attempts"],
                _why(row),
            ]
            for row in messages
        ],
    )
