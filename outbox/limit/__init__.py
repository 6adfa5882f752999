"""Limits that a bot's own calls share with the queue and with the bot's other processes.

    limiter.py     slots for what a bot sends itself, with the database and without
    procedures.py  outbox.acquire and outbox.settle, waited for no longer than a timeout
    untold.py      what the database is told when it is back
    slots.py, local_limits.py  slots and limits in memory
    counted.py     which calls of the Bot API Telegram counts
    turns.py       a bot's calls: one after another in a chat, a 429 again
    aiogram.py, telegram.py  the same as plug-ins of aiogram and python-telegram-bot

Nothing here is imported by `import outbox`; each plug-in imports its library only when it is imported itself.
"""

from outbox.limit.limiter import Limiter
from outbox.limit.slots import Result, Slot

__all__ = ["Limiter", "Result", "Slot"]
