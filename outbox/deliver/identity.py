"""Whether this database is this worker's own: a copy of it must not send everything again."""

from collections.abc import Mapping
from typing import NamedTuple

from psycopg.types.json import Jsonb
from pydantic import SecretStr

from outbox.deliver.connections import Connections


class Difference(NamedTuple):
    """Where the database remembers something else than this worker brings."""

    what: str
    """environment | database | telegram_id"""
    bot: str | None
    remembered: str
    present: str

    def __str__(self) -> str:
        name = "the id of bot " + repr(self.bot) if self.bot is not None else self.what
        return f"{name} was {self.remembered} and is {self.present}"


class ForeignDatabaseError(Exception):
    """This worker may not deliver from this database: it may be a copy, whose messages the original sends."""

    def __init__(self, differences: list[Difference]) -> None:
        super().__init__(
            f"this database is not this worker's own: {', '.join(map(str, differences))}. If it is a copy, its messages"
            " may have been sent. Stop all its workers, then run outbox adopt --send to deliver what waits, or"
            " outbox adopt --hold to keep that for a person."
        )


class Identity:
    """Compares the environment, the database and the bots with what the database remembers of them."""

    def __init__(self, connections: Connections, environment: str) -> None:
        self._connections = connections
        self._environment = environment

    async def confirm(self, telegram_ids: Mapping[str, int]) -> None:
        """Return when all is as it was, or new. Raises ForeignDatabaseError, or what Connections.call raises."""
        if differences := await self._differences(telegram_ids):
            raise ForeignDatabaseError(differences)

    async def others(self, telegram_ids: Mapping[str, int]) -> dict[str, Difference]:
        """Return those of the bots that the database knows as another Telegram bot.

        Raises ForeignDatabaseError where the environment or the database differs, or what Connections.call raises.
        """
        differences = await self._differences(telegram_ids)
        if others := [one for one in differences if one.bot is None]:
            raise ForeignDatabaseError(others)
        return {one.bot: one for one in differences if one.bot is not None}

    async def _differences(self, telegram_ids: Mapping[str, int]) -> list[Difference]:
        rows = await self._connections.call(
            "SELECT what, bot, remembered, present FROM outbox.check_identity(%s::text, %s::jsonb)",
            (self._environment, Jsonb(dict(telegram_ids))),
        )
        return [Difference(*row) for row in rows]


def telegram_id(bot_token: SecretStr) -> int:
    """Return Telegram's id of the bot, which its token begins with and which is no secret."""
    return int(bot_token.get_secret_value().partition(":")[0])
