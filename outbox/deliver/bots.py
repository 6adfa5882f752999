"""Which bots this worker serves: those whose bot token Telegram takes, and that the database knows as the same bot."""

import asyncio
import contextlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import psycopg
from pydantic import SecretStr

from outbox.deliver.classify import Answer, classify
from outbox.deliver.connections import AnswerLostError, Connections, DatabaseAwayError
from outbox.deliver.events import BotIsAnother, Emit, TokenChecked, TokensNotRead, TokensRead
from outbox.deliver.identity import Identity, telegram_id
from outbox.deliver.pace import now_s
from outbox.deliver.send import Sender
from outbox.deliver.tokens import LOOK_EVERY_S, TokensFile
from outbox.settings import UsageError

CHECKS_AT_ONCE: Final = 16
CHECK_SOON_S: Final = 1.0
CHECK_LATEST_S: Final = 60.0  # a revoked bot token may flap for minutes
CALM_S: Final = 120.0  # without a refusal; then the next one is checked soon again
ASK_PAUSED_S: Final = 5.0  # another worker may have met the 401 that pauses a bot for all


@dataclass(slots=True)
class _Recheck:
    due_s: float = math.inf
    asked_s: float = math.inf
    tries: int = 0


class Bots:
    """Serves every bot until its bot token is refused: an API that cannot be asked is no reason to stop.

    A 401 pauses the bot in the database, for every worker. Whose own token passes getMe lifts that; whose does not
    stops serving the bot and leaves it to others.
    """

    def __init__(
        self,
        tokens: Mapping[str, SecretStr],
        sender: Sender,
        connections: Connections,
        identity: Identity,
        *,
        changed: Callable[[], None],
        emit: Emit,
        only: Iterable[str] | None = None,
    ) -> None:
        """`only` narrows which bots of a tokens file that changed are served; None serves all."""
        self._tokens = dict(tokens)
        self._sender = sender
        self._connections = connections
        self._identity = identity
        self._changed = changed
        self._emit = emit
        self._only = None if only is None else frozenset(only)
        self._refused: set[str] = set()  # by getMe, or by a call and not asked about yet
        self._others: set[str] = set()  # another Telegram bot than the database remembers
        self._paused: set[str] = set()  # in the database, by a 401
        self._rechecks: dict[str, _Recheck] = {}
        self._sooner = asyncio.Event()

    def serving(self) -> list[str]:
        return [name for name in self._tokens if self.serves(name)]

    def serves(self, name: str) -> bool:
        return name in self._tokens and name not in self._refused and name not in self._others

    def telegram_ids(self) -> dict[str, int]:
        """The Telegram bots behind the names, but for those that the database is known to know as others."""
        return {name: telegram_id(token) for name, token in self._tokens.items() if name not in self._others}

    async def check(self) -> None:
        """Ask for every bot once, which also opens connections for the first messages."""
        if len(self._tokens) == 1:
            await self._sender.warm(next(iter(self._tokens)))
        await self._check_all(self._tokens)

    def doubt(self, name: str) -> None:
        """A call was answered by 401: nothing more is claimed for the bot until getMe takes its token."""
        if self.serves(name):
            self._refused.add(name)
            self._check_again(name)
            self._changed()

    async def watch(self) -> None:
        """Ask again for bots whose token was refused, here or to another worker. Runs until cancelled."""
        ask_paused_s = now_s()
        while True:
            if now_s() >= ask_paused_s:
                await self._ask_paused()
                ask_paused_s = now_s() + ASK_PAUSED_S
                await self._check_all(sorted(name for name in self._paused if self.serves(name)))
            await self._check_all([name for name, recheck in self._rechecks.items() if recheck.due_s <= now_s()])
            next_s = min([ask_paused_s, *(recheck.due_s for recheck in self._rechecks.values())])
            self._sooner.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._sooner.wait(), max(0.0, next_s - now_s()))

    async def follow(self, file: TokensFile) -> None:
        """Take new bot tokens from the file whenever it changes. Runs until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                tokens = file.changed()
                if tokens is not None:
                    await self._take(tokens)
            except UsageError as error:
                self._emit(TokensNotRead(str(error)))
            except (DatabaseAwayError, AnswerLostError, psycopg.Error):
                file.again()  # no token is used before the database said whose it is

    async def _take(self, tokens: Mapping[str, SecretStr]) -> None:
        """Serve with these from now on. Raises UsageError when none is for this worker, and what Identity raises."""
        tokens = {name: token for name, token in tokens.items() if self._only is None or name in self._only}
        if not tokens:
            raise UsageError(
                "OUTBOX_TOKENS_FILE changed and names no bot of this worker", "The tokens from before stay in use"
            )
        changed = {name: token for name, token in tokens.items() if self._tokens.get(name) != token}
        removed = self._tokens.keys() - tokens.keys()
        others = await self._identity.others({name: telegram_id(token) for name, token in changed.items()})
        for name, other in others.items():
            self._emit(BotIsAnother(name, other.remembered, other.present))
        taken = {name: token for name, token in changed.items() if name not in others}
        self._sender.take_tokens(taken)
        self._others = self._others - changed.keys() - removed | others.keys()
        self._refused -= changed.keys() | removed
        for name in changed.keys() | removed:
            self._rechecks.pop(name, None)
        added = tuple(sorted(taken.keys() - self._tokens.keys()))
        replaced = tuple(sorted(taken.keys() & self._tokens.keys()))
        self._tokens = tokens
        self._emit(TokensRead(added, replaced, tuple(sorted(removed))))
        self._changed()
        await self._check_all(taken)

    async def _ask_paused(self) -> None:
        if not self.serving():
            return
        with contextlib.suppress(DatabaseAwayError, AnswerLostError, psycopg.Error):
            rows = await self._connections.call("SELECT bot FROM outbox.limits WHERE unauthorised")
            self._paused = {bot for (bot,) in rows}

    async def _check_all(self, names: Iterable[str]) -> None:
        at_once = asyncio.Semaphore(CHECKS_AT_ONCE)

        async def check_one(name: str) -> None:
            async with at_once:
                await self._check(name)

        await asyncio.gather(*(check_one(name) for name in list(names)))

    async def _check(self, name: str) -> None:
        token = self._tokens.get(name)
        if token is None:
            return  # gone while its turn came
        answer = await self._sender.check_token(name)
        if self._tokens.get(name) != token:
            return  # the new one is asked about by itself
        outcome = classify("getMe", answer)
        accepted = True if outcome.outcome == "sent" else None
        if isinstance(answer, Answer) and outcome.error_class == "bot_unauthorized":
            accepted = False
        self._emit(TokenChecked(name, accepted, outcome.http_status, outcome.error_text))
        served = self.serves(name)
        if accepted and isinstance(answer, Answer) and (told := _told_id(answer)) not in (None, telegram_id(token)):
            self._others.add(name)
            self._rechecks.pop(name, None)
            self._emit(BotIsAnother(name, str(telegram_id(token)), str(told)))
        elif accepted:
            if name in self._refused or name in self._paused:
                await self._authorise(name, telegram_id(token))
            self._refused.discard(name)
            if name in self._rechecks:
                self._rechecks[name].due_s = math.inf
        elif accepted is False or name in self._refused:
            self._refused.add(name)
            self._check_again(name)
        if served != self.serves(name):
            self._changed()

    async def _authorise(self, name: str, telegram_id: int) -> None:
        # Without an answer the bot stays paused, and the next look at the paused ones comes back to it.
        with contextlib.suppress(DatabaseAwayError, AnswerLostError, psycopg.Error):
            [(lifted,)] = await self._connections.call(
                "SELECT outbox.authorise(%s::text, %s::bigint)", (name, telegram_id)
            )
            self._paused.discard(name)
            if lifted:
                self._changed()

    def _check_again(self, name: str) -> None:
        now = now_s()
        recheck = self._rechecks.get(name)
        if recheck is None or now - recheck.asked_s > CALM_S:
            recheck = self._rechecks[name] = _Recheck()
        recheck.due_s = now + min(CHECK_LATEST_S, CHECK_SOON_S * 2.0 ** min(recheck.tries, 30))
        recheck.tries += 1
        recheck.asked_s = now
        self._sooner.set()


def _told_id(answer: Answer) -> int | None:
    """The bot's id as getMe tells it; None where a stand-in for the Bot API does not."""
    try:
        told = json.loads(answer.body)["result"]["id"]
    except (ValueError, KeyError, TypeError):
        return None
    return told if isinstance(told, int) else None
