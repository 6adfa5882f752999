"""Stays with a batch of dead letters until it has ended; the batch needs nobody for that."""

from __future__ import annotations

import time
from typing import Final

import psycopg

from outbox.operate.console import CommandFailed, Connection, note, number
from outbox.operate.dead_letters import Row, batch, house_is_kept
from outbox.operate.explain import explain
from outbox.operate.progress import progress

LOOK_EVERY_S: Final = 0.5
DOUBT_EVERY_S: Final = 5.0
DONE: Final = {"retry": "retried", "discard": "discarded"}
NOBODY: Final = "no worker or housekeeper is alive"
START_ONE: Final = "Start one: outbox up, or outbox worker"


def follow_batch(connection: Connection, batch_id: int) -> Row:
    """Return the batch once it has ended; draw how far it is. Raises KeyboardInterrupt, after a line that tells how to
    go on, and CommandFailed when the database is away."""
    found = batch(connection, batch_id)
    told = False
    doubted_s = time.monotonic()
    try:
        with progress(f"batch {batch_id}", found["total"]) as advance:
            while found["finished_at"] is None:
                time.sleep(LOOK_EVERY_S)
                found = batch(connection, batch_id)
                advance(found["done"] + found["failed"])
                if not told and time.monotonic() - doubted_s > DOUBT_EVERY_S:
                    doubted_s = time.monotonic()
                    if told := not house_is_kept(connection):
                        note(f"{NOBODY} to go on with batch {batch_id}. {START_ONE}.")
    except KeyboardInterrupt:
        note(f"batch {batch_id} goes on without this terminal. {how_to_go_on(batch_id)}")
        raise
    except psycopg.OperationalError as error:
        raise CommandFailed(f"{explain(error)} Batch {batch_id} goes on. {how_to_go_on(batch_id)}") from error
    return found


def how_to_go_on(batch_id: int) -> str:
    """Return how to follow a batch and how to stop it."""
    return f"Follow it: outbox dead batches {batch_id} --wait. Stop it: outbox dead stop {batch_id}"


def in_a_line(found: Row) -> str:
    """Return how far a batch is."""
    letters = "dead letter" if found["total"] == 1 else "dead letters"
    told = f"{number(found['done'])} of {number(found['total'])} {letters} {DONE[found['verb']]}"
    if found["state"] != "done":
        told += f", {found['state']}"
    if found["failed"]:
        stay = "stays a dead letter" if found["failed"] == 1 else "stay dead letters"
        told += f"; {number(found['failed'])} could not be {DONE[found['verb']]} and {stay}"
    if found["state"] == "done" and (rest := found["total"] - found["done"] - found["failed"]) > 0:
        # Somebody else retried or discarded them, or a late "sent" came.
        told += f"; {number(rest)} had gone before {'its' if rest == 1 else 'their'} turn"
    return told + (f". Last error: {found['last_error']}" if found["last_error"] else "")
