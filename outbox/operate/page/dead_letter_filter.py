"""Which dead letters: the conditions that the list, a confirmation and a batch share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from outbox.operate.page.parameters import Sent, choice, message_ids, moment, text

STATUSES: Final = ("dead", "uncertain")
# The arguments of every function about dead letters, in the order of Filter.arguments().
CONDITIONS: Final = (
    "p_bot => %s, p_class => %s, p_tag => %s, p_since => %s, p_until => %s, p_text => %s, p_status => %s"
)
IDS_TOO: Final = CONDITIONS + ", p_ids => %s"


@dataclass(frozen=True)
class Filter:
    """Conditions that must all hold. since and until are about the time of death."""

    bot: str | None = None
    error_class: str | None = None
    tag: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None
    status: str | None = None
    ids: tuple[int, ...] = ()

    @classmethod
    def sent(cls, sent: Sent) -> Filter:
        """Read it from an address or a form. Raises HTTPBadRequest."""
        bot = text(sent, "bot")
        return cls(
            bot=bot.lower() if bot else None,
            error_class=text(sent, "class"),
            tag=text(sent, "tag"),
            since=moment(sent, "since"),
            until=moment(sent, "until"),
            text=text(sent, "text"),
            status=choice(sent, "status", STATUSES),
            ids=tuple(message_ids(sent, "id")),
        )

    @classmethod
    def stored(cls, stored: Mapping[str, Any]) -> Filter:
        """Read it from a row of outbox.batches."""
        since, until = (stored.get(name) for name in ("since", "until"))
        return cls(
            bot=stored.get("bot"),
            error_class=stored.get("class"),
            tag=stored.get("tag"),
            since=datetime.fromisoformat(since) if since else None,
            until=datetime.fromisoformat(until) if until else None,
            text=stored.get("text"),
            status=stored.get("status"),
            ids=tuple(stored.get("ids") or ()),
        )

    def arguments(self) -> list[Any]:
        """Return the values for CONDITIONS."""
        return [self.bot, self.error_class, self.tag, self.since, self.until, self.text, self.status]

    def with_ids(self) -> list[Any]:
        """Return the values for IDS_TOO."""
        return [*self.arguments(), list(self.ids) or None]

    def query(self, **other: Any) -> dict[str, Any]:
        """Return it as the fields of an address or a form, and others beside; None is left out by url()."""
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

    def but(self, **changes: Any) -> Filter:
        """Return it with some conditions changed."""
        return replace(self, **changes)
