"""A transactional outbox for Telegram that lives in PostgreSQL: INSERT a message in your transaction, it gets sent.

The tree is the life of a message; sql/ holds the model, under the same words:

    accept/     the producer's side, in the caller's transaction: enqueue
    database/   connections, tables, migrations, the embedded server
    deliver/    the worker: claim, pace, send, classify, complete
    observe/    logs
    operate/    the command line, the demo, housekeeping
    simulator/  a strict Bot API server; shares no code with the rest

`import outbox` is for producers: it imports no driver and nothing of the worker. Any language that can INSERT INTO
outbox.message needs none of this.
"""

from outbox.accept.enqueue import enqueue, enqueue_many
from outbox.accept.message import Message, Priority

__all__ = ["Message", "Priority", "enqueue", "enqueue_many"]
