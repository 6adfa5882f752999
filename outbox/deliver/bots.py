"""Which bots this worker serves: those whose bot token Telegram takes."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from outbox.deliver.classify import Answer, classify
from outbox.deliver.events import Emit, TokenChecked
from outbox.deliver.send import Sender

CHECK_AGAIN_S: Final = 60.0  # a revoked bot token may flap for minutes; a new one comes with a restart
CHECKS_AT_ONCE: Final = 16


class Bots:
    """Serves every bot until its bot token is refused: an API that cannot be asked is no reason to stop."""

    def __init__(self, names: Iterable[str], sender: Sender, *, changed: Callable[[], None], emit: Emit) -> None:
        self._names = tuple(names)
        self._sender = sender
        self._changed = changed
        self._emit = emit
        self._refused: set[str] = set()

    def serving(self) -> list[str]:
        return [name for name in self._names if name not in self._refused]

    def serves(self, name: str) -> bool:
        return name in self._names and name not in self._refused

    async def check(self) -> None:
        """Ask for every bot once, which also opens connections for the first messages."""
        at_once = asyncio.Semaphore(CHECKS_AT_ONCE)

        async def check_one(name: str) -> None:
            async with at_once:
                await self._check(name)

        if len(self._names) == 1:
            await self._sender.warm(self._names[0])
        await asyncio.gather(*(check_one(name) for name in self._names))

    async def check_refused_for_ever(self) -> None:
        """Ask again for the refused ones. Runs until cancelled."""
        while True:
            await asyncio.sleep(CHECK_AGAIN_S)
            for name in sorted(self._refused):
                await self._check(name)

    async def _check(self, name: str) -> None:
        answer = await self._sender.check_token(name)
        outcome = classify("getMe", answer)
        accepted = True if outcome.outcome == "sent" else None
        if isinstance(answer, Answer) and outcome.error_class == "bot_unauthorized":
            accepted = False
        was_refused = name in self._refused
        if accepted is False:
            self._refused.add(name)
        elif accepted:
            self._refused.discard(name)
        if was_refused != (name in self._refused):
            self._changed()
        self._emit(TokenChecked(name, accepted, outcome.http_status, outcome.error_text))
