"""What producers ask for: messages, and cancels of them."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

BOTS = ("a", "b")
CHATS = ("1", "2", "3", "-100", "@channel")
TAGS = ("news", "offer")
ORDERS = ("order 1", "order 2")  # correlation ids that several messages bear


@dataclass(frozen=True)
class Wish:
    """One message, as its producer wants it."""

    bot: str
    chat_id: str
    priority: int
    delay_s: float
    expires_s: float | None
    on_uncertain: str
    max_attempts: int | None
    collapse_key: str | None
    tag: str | None
    correlation_id: str | None
    target: int | None  # the n-th last message of its chat, whatever came of it
    is_numbered: bool  # Telegram's answer bears an id


WISHES = st.builds(
    Wish,
    bot=st.sampled_from(BOTS),
    chat_id=st.sampled_from(["1", "1", "-100", *CHATS]),  # one lane has more to order than the others
    priority=st.integers(0, 3),
    delay_s=st.sampled_from([0, 0, 0, 0, 0.05, 0.7, 4]),
    expires_s=st.sampled_from([None, None, None, None, None, 0.5, 6]),
    on_uncertain=st.sampled_from(["retry", "hold"]),
    max_attempts=st.sampled_from([None, None, 1, 2]),
    collapse_key=st.sampled_from([None, None, "score", "score", "state"]),
    tag=st.sampled_from([None, None, None, *TAGS]),
    correlation_id=st.sampled_from([None, None, None, None, *ORDERS]),
    target=st.sampled_from([None, None, None, None, 0, 0, 1, 2]),
    is_numbered=st.sampled_from([True, True, True, False]),
)


@dataclass(frozen=True)
class CancelWish:
    """What to cancel: the n-th of the messages that one knows, a tag or a correlation id."""

    by: str
    nth: int
    tag: str
    correlation_id: str
    bot: str | None


CANCEL_WISHES = st.builds(
    CancelWish,
    by=st.sampled_from(["id", "id", "id", "correlation_id", "tag"]),
    nth=st.integers(0, 11),
    tag=st.sampled_from(TAGS),
    correlation_id=st.sampled_from(ORDERS),
    bot=st.sampled_from([None, None, *BOTS]),
)
