"""A transactional outbox for Telegram that lives in PostgreSQL: INSERT a message in your transaction, it gets sent.

The tree is the life of a message; sql/ holds the model, under the same words:

    accept/     the producer's side, in the caller's transaction: enqueue, send, cancel, status, wait, check
    limit/      slots for replies that a bot sends itself
    database/   connections, tables, migrations, the embedded server
    deliver/    the worker: claim, pace, send, classify, complete
    observe/    logs
    operate/    the command line, the demo, housekeeping
    simulator/  a strict Bot API server; shares no code with the rest

`import outbox` is for producers: it imports no driver and nothing of the worker. Any language that can INSERT INTO
outbox.message needs none of this.
"""

from outbox.accept.cancel import cancel
from outbox.accept.check import RefusedError, check
from outbox.accept.enqueue import enqueue, enqueue_many
from outbox.accept.message import Message, Priority
from outbox.accept.send import send
from outbox.accept.status import Status, status
from outbox.accept.wait import wait

__all__ = [
    "Message",
    "Priority",
    "RefusedError",
    "Status",
    "cancel",
    "check",
    "enqueue",
    "enqueue_many",
    "send",
    "status",
    "wait",
]
