"""Asks Telegram by getMe what each bot token is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from outbox.deliver.answer import Answer, Failure
from outbox.deliver.classify import classify
from outbox.deliver.identity import telegram_id
from outbox.deliver.send import Sender


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of one bot token."""

    bot: str
    ok: bool
    telegram_id: int
    """As the token itself says, which is no secret."""
    name: str | None = None
    """The bot's @name."""
    error: str | None = None


def check_tokens(tokens: Mapping[str, SecretStr], api_url: str, remembered: Mapping[str, int | None]) -> list[Checked]:
    """Return what each token is, in the order of names. `remembered` holds each bot's Telegram id in the database."""
    return asyncio.run(_check_all(tokens, api_url, remembered))


async def _check_all(
    tokens: Mapping[str, SecretStr], api_url: str, remembered: Mapping[str, int | None]
) -> list[Checked]:
    sender = Sender(tokens, api_url)
    try:
        bots = sorted(tokens)
        answers = await asyncio.gather(*(sender.check_token(bot) for bot in bots))
    finally:
        await sender.close()
    return [_checked(bot, tokens[bot], answer, remembered.get(bot)) for bot, answer in zip(bots, answers, strict=True)]


def _checked(bot: str, token: SecretStr, answer: Answer | Failure, remembered: int | None) -> Checked:
    number = telegram_id(token)
    outcome = classify("getMe", answer)
    if outcome.outcome != "sent" or not isinstance(answer, Answer):
        error = outcome.error_text or outcome.error_class or "no answer"
        if outcome.error_class == "bot_unauthorized":
            error = f"Telegram refuses the token ({error}). Copy the current one from @BotFather"
        return Checked(bot, ok=False, telegram_id=number, error=error)
    told = _result(answer)
    name = told.get("username")
    name = f"@{name}" if isinstance(name, str) else None
    if told.get("id") not in (None, number):
        return Checked(bot, ok=False, telegram_id=number, name=name, error=f"Telegram says its id is {told['id']}")
    if remembered not in (None, number):
        error = f"the database knows this bot as {remembered}. Set that bot's token, or see outbox adopt --help"
        return Checked(bot, ok=False, telegram_id=number, name=name, error=error)
    return Checked(bot, ok=True, telegram_id=number, name=name)


def _result(answer: Answer) -> dict[str, Any]:
    try:
        told = json.loads(answer.body)["result"]
    except (ValueError, KeyError, TypeError):
        return {}
    return told if isinstance(told, dict) else {}
