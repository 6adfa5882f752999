from hypothesis import given
from hypothesis import strategies as st

from outbox.simulator.config import Config
from outbox.simulator.windows import SlidingWindow, Windows, is_group

# Sixteenths are exact in binary, so that arrivals fall on a window's very edge instead of a hair beside it.
steps = st.integers(0, 24).map(lambda sixteenths: sixteenths / 16)
chats = st.sampled_from(["1", "2", "-5", "@news", None])
calls = st.lists(st.tuples(steps, st.sampled_from(["7", "8"]), chats, st.integers(1, 4)), max_size=80)
configs = st.builds(
    Config,
    rate=st.integers(0, 5),
    chat_interval_s=st.sampled_from([0.0, 0.5, 1.0]),
    group_limit=st.integers(0, 4),
    group_window_s=st.sampled_from([2.0, 6.0]),
)


def taken(accepted, now, window_s, **wanted):
    """Places in (now - window_s, now], counted one by one."""
    return sum(
        places[wanted["by"]]
        for at, bot, chat, places in accepted
        if now - window_s < at <= now and bot == wanted["bot"] and wanted.get("chat", chat) == chat
    )


def limits_that_refuse(config, accepted, now, bot, chat, cost):
    refusing = set()
    if config.rate and taken(accepted, now, 1.0, by="bot", bot=bot) + min(cost, config.rate) > config.rate:
        refusing.add("bot")
    if chat is None:
        return refusing
    if config.chat_interval_s and taken(accepted, now, config.chat_interval_s, by="chat", bot=bot, chat=chat):
        refusing.add("chat")
    limit = config.group_limit
    if (
        limit
        and is_group(chat)
        and taken(accepted, now, config.group_window_s, by="group", bot=bot, chat=chat) + min(cost, limit) > limit
    ):
        refusing.add("group")
    return refusing


@given(configs, calls)
def test_a_call_is_refused_exactly_when_a_window_counted_by_hand_is_full(config, calls):
    windows = Windows(config)
    accepted = []
    now = 0.0
    for step_s, bot, chat, cost in calls:
        now += step_s
        refusing = limits_that_refuse(config, accepted, now, bot, chat, cost)
        refusal = windows.judge(bot, chat, cost, now)
        assert (refusal.limit in refusing) if refusal else not refusing, (now, bot, chat, cost, refusal, refusing)
        if refusal is None:
            places = {"bot": min(cost, config.rate), "chat": 1, "group": min(cost, config.group_limit)}
            accepted.append((now, bot, chat, places))


@given(configs, calls)
def test_a_refused_call_passes_after_its_wait_if_nothing_else_comes(config, calls):
    windows = Windows(config)
    now = 0.0
    for step_s, bot, chat, cost in calls:
        now += step_s
        refusal = windows.judge(bot, chat, cost, now)
        if refusal is not None:
            now += refusal.wait_s
            assert windows.judge(bot, chat, cost, now) is None


def test_a_window_is_half_open_the_place_is_free_again_exactly_one_window_later():
    window = SlidingWindow(limit=1, window_s=1.0)
    window.enter(5.0, 1)
    assert window.wait_s(5.75, 1) == 0.25
    assert window.wait_s(6.0, 1) is None


def test_refused_calls_do_not_lengthen_the_wait():
    windows = Windows(Config())
    assert windows.judge("1", "42", 1, 0.0) is None
    for tenth in range(1, 10):
        refusal = windows.judge("1", "42", 1, tenth / 10)
        assert refusal is not None
        assert refusal.limit == "chat"
    assert windows.judge("1", "42", 1, 1.0) is None


def test_the_limit_that_makes_a_call_wait_longest_is_the_one_that_is_named():
    windows = Windows(Config(rate=1, group_limit=1))
    assert windows.judge("1", "-5", 1, 0.0) is None
    refusal = windows.judge("1", "-5", 1, 0.5)
    assert refusal == ("group", 59.5)


def test_a_cost_above_the_limit_needs_the_whole_window_and_passes():
    windows = Windows(Config(rate=3))
    assert windows.judge("1", "5", 10, 0.0) is None
    assert windows.judge("1", "6", 1, 0.5) is not None
    assert windows.judge("1", "6", 1, 1.0) is None
