"""The conditions on dead letters as an address or a form has them: the list, a confirmation and a batch share them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

from outbox.operate.conditions import Conditions
from outbox.operate.page.parameters import Sent, choice, message_ids, moment, text
from outbox.operate.words import DEAD


class Filter(Conditions):
    """Conditions that came from a browser, or go back to it."""

    __slots__ = ()

    @classmethod
    def sent(cls, sent: Sent) -> Self:
        """Read them from an address or a form. Raises HTTPBadRequest."""
        bot = text(sent, "bot")
        return cls(
            bot=bot.lower() if bot else None,
            error_class=text(sent, "class"),
            tag=text(sent, "tag"),
            since=moment(sent, "since"),
            until=moment(sent, "until"),
            text=text(sent, "text"),
            status=choice(sent, "status", DEAD),
            ids=tuple(message_ids(sent, "id")),
        )

    def query(self, **other: Any) -> dict[str, Any]:
        """Return them as the fields of an address or a form, and others beside; None is left out by url()."""
        fields = {
            "bot": self.bot,
            "class": self.error_class,
            "tag": self.tag,
            "status": self.status,
            "since": self.since and self.since.isoformat(),
            "until": self.until and self.until.isoformat(),
            "text": self.text,
            "id": list(self.ids) or None,
        }
        return {name: value for name, value in (fields | other).items() if value is not None}

    def but(self, **changes: Any) -> Self:
        """Return them with some changed."""
        return replace(self, **changes)
