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
    connected,
    facts,
    json_option,
    moment,
    note,
    print_json,
    say,
    shown,
    table,
)
from outbox.operate.find_message import MOST, WAITING, Row, expected, explain, find, in_words, label, priority

TIMELINE = ["time (UTC)", "what", "details", "took", "HTTP", "waits until", "worker"]


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
        if found.by_id is not None or len(found.by_correlation_id) == 1:
            detail = _read(connection, found.messages[0], payload)
            if as_json:
                print_json({"messages": [detail, *found.messages[1:]]})
                return
            _print(detail, payload)
            if found.messages[1:]:
                click.echo()
                _list(f"also with the correlation id {shown(message)}", found.messages[1:])
            return
    if as_json:
        print_json({"messages": found.messages})
        return
    if payload:
        note("--payload is for one message: give its id.")
    _list(f"messages with the correlation id {shown(message)}", found.messages)
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
    now = connection.execute("SELECT outbox.clock() AS now").fetchone()
    assert now is not None
    detail |= now
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
            ("priority", priority(detail["priority"])),
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
        _print_timeline(_events(detail["timeline"]))
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


def _waiting(explained: Row | None) -> Iterator[tuple[str, Any]]:
    if explained is not None:
        yield from label("waits because", map(in_words, explained["reasons"]))
        yield "will be sent", expected(explained)


def _print_payload(payload: Any) -> None:
    # As it is: what is no ASCII letter stays readable, what a terminal would obey does not stay.
    for line in json.dumps(payload, indent=2, ensure_ascii=False).splitlines():
        say(line)


def _print_timeline(events: list[list[Any]]) -> None:
    # Most messages need few of the columns.
    filled = [place for place in range(len(TIMELINE)) if any(event[place] is not None for event in events)]
    table(None, [TIMELINE[place] for place in filled], [[event[place] for place in filled] for event in events])


def _events(timeline: list[Row]) -> list[list[Any]]:
    return [
        [
            _moment(event["at"]),
            event["what"],
            event["details"],
            None if event["duration_s"] is None else f"{event['duration_s']:.2f} s",
            event["http_status"],
            event["waits_until"] and _moment(event["waits_until"]),
            event["worker"],
        ]
        for event in timeline
    ]


def _moment(at: datetime) -> str:
    """Return a time to the millisecond: of a timeline, the order matters."""
    return at.astimezone(UTC).isoformat(" ", "milliseconds").removesuffix("+00:00")


def _status(detail: Row, now: datetime) -> str:
    until = detail["next_attempt_at"]
    if detail["status"] == "queued" and until is not None and until > now:
        return f"queued, not before {moment(until)} (in {age((until - now).total_seconds())})"
    return str(detail["status"])


def _why(detail: Row) -> str:
    return ": ".join(part for part in (detail["error_class"], detail["error_text"]) if part)


def _ago(at: datetime, now: datetime) -> str:
    return f"{moment(at)} ({age((now - at).total_seconds())} ago)"


def _list(title: str, messages: list[Row]) -> None:
    table(
        title,
        ["id", "status", "bot", "chat", "method", "tag", "accepted", "attempts", "why"],
        [
            [
                row["id"],
                row["status"],
                row["bot"],
                row["chat_id"],
                row["method"],
                row["tag"],
                row["created_at"],
                row["attempts"],
                _why(row),
            ]
            for row in messages
        ],
    )
