"""What the tests of outbox.examine share: a look at one check, and an installation that is well."""

from __future__ import annotations

from typing import Any

from tests.conftest import Database

Rows = list[tuple[str, str, str]]


def look(db: Database, check: str) -> Rows:
    return db.execute("SELECT verdict, finding, remedy FROM outbox.examine(%s)", [check])


def verdicts(db: Database, check: str) -> list[str]:
    return [row[0] for row in look(db, check)]


def only(db: Database, check: str) -> tuple[str, str, str]:
    [row] = look(db, check)
    return row


def insert(db: Database, bot: str = "default", chat_id: int = 1, **columns: Any) -> None:
    names = ["bot", "chat_id", "payload", *columns]
    db.execute(
        f"INSERT INTO outbox.message ({', '.join(names)}) VALUES ({', '.join(['%s'] * len(names))})",
        [bot, str(chat_id), '{"text": "x"}', *columns.values()],
    )


def start_worker(db: Database, *bots: str, version: str = "1.0") -> int:
    [(worker,)] = db.execute(
        "SELECT outbox.register_worker('w', %s, 'host', 1, %s)", [list(bots or ("default",)), version]
    )
    return int(worker)


def keep_house(db: Database) -> None:
    db.execute("SELECT outbox.keep_house('house')")
    for duty in ("make_partitions", "drop_history", "measure", "repair", "count_astray"):
        db.execute("SELECT outbox.note_duty(%s, NULL)", [duty])


def claim(db: Database, worker: int) -> None:
    rows = db.execute("SELECT message_id FROM outbox.claim(%s, ARRAY['default'], 8, '[]'::jsonb)", [worker])
    assert rows != []
