"""Which dead letters: the conditions that the command line, the page and batches share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, Self

CONDITIONS: Final = (
    "p_bot => %(bot)s::text, p_class => %(error_class)s::text, p_tag => %(tag)s::text,"
    " p_since => %(since)s::timestamptz, p_until => %(until)s::timestamptz, p_text => %(text)s::text,"
    " p_status => %(status)s::text"
)
"""Arguments of every function about dead letters; the values are those of Conditions.parameters()."""

IDS_TOO: Final = f"{CONDITIONS}, p_ids => %(ids)s::bigint[]"
"""Of those that take ids as well."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """Conditions that must all hold. Times are those of death, `until` itself excluded."""

    ids: tuple[int, ...] = ()
    bot: str | None = None
    error_class: str | None = None
    tag: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None
    status: str | None = None

    @classmethod
    def stored(cls, stored: Mapping[str, Any]) -> Self:
        """Read them from column filter of outbox.batches."""
        since, until = (stored.get(name) for name in ("since", "until"))
        return cls(
            ids=tuple(stored.get("ids") or ()),
            bot=stored.get("bot"),
            error_class=stored.get("class"),
            tag=stored.get("tag"),
            since=datetime.fromisoformat(since) if since else None,
            until=datetime.fromisoformat(until) if until else None,
            text=stored.get("text"),
            status=stored.get("status"),
        )

    @property
    def empty(self) -> bool:
        """Whether every dead letter is meant."""
        return self == type(self)()

    def parameters(self) -> dict[str, Any]:
        """Return them as the parameters of a query."""
        return asdict(self) | {"ids": list(self.ids) or None}
