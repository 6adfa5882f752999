"""Which calls a rule hits."""

import pytest

BROKEN = {"effect": "status", "status": 500}


async def statuses(client, number, chat=42):
    return [(await client.call("getChat", chat_id=chat))[0] for _ in range(number)]


async def test_several_chats_and_methods_can_be_named_by_number_or_text(simulate):
    client = await simulate()
    await client.add({**BROKEN, "match": {"chats": [1, "@News"], "method": ["sendMessage", "GETCHAT"]}})
    assert [await client.send(chat) for chat in (1, 2, "@news")] == [500, 200, 500]
    assert (await client.call("getChat", chat_id=1))[0] == 500
    assert (await client.call("sendChatAction", chat_id=1))[0] == 200


async def test_a_time_window_counts_from_the_moment_the_rule_was_added(simulate):
    client = await simulate()
    client.clock.now_s += 500
    await client.add({**BROKEN, "match": {"from_s": 10, "until_s": 20}})
    seen = []
    for _ in range(4):
        seen += await statuses(client, 1)
        client.clock.now_s += 9.99
    assert seen == [200, 200, 500, 200]


async def test_some_calls_can_be_let_through_first_then_every_third_be_hit_at_most_twice(simulate):
    client = await simulate()
    await client.add({**BROKEN, "match": {"skip": 2, "every": 3, "count": 2}})
    assert await statuses(client, 14) == [200, 200, 200, 200, 500, 200, 200, 500, 200, 200, 200, 200, 200, 200]
    assert [rule["hits"] for rule in await client.rules()] == [2]


async def test_the_first_rule_that_matches_hits_and_a_spent_one_gives_way(simulate):
    client = await simulate()
    await client.add(
        {"match": {"count": 1}, "effect": "status", "status": 503}, {"match": {"chat": 42}, "effect": "revoked"}
    )
    assert await statuses(client, 2) == [503, 401]
    assert [call["broken_by"] for call in await client.log()] == ["fault 1 status", "fault 2 revoked"]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"effect": "nonsense"}, 'effect is \'nonsense\'. Use "status", "flood",'),
        ({"effect": "revoked", "status": 401}, "unknown key 'status'"),
        ({"effect": "revoked", "match": {"chat": 1, "chats": [2]}}, "both chat and chats"),
        ({"effect": "revoked", "match": {"chat": [1, 2]}}, "Use chats"),
        ({"effect": "revoked", "match": {"chats": []}}, "chats is empty"),
        ({"effect": "revoked", "match": {"share": 1.5}}, "share is 1.5. Give a number, from 0 to 1"),
        ({"effect": "revoked", "match": {"share": True}}, "share is True"),
        ({"effect": "revoked", "match": {"count": 0}}, "count is 0. Give a whole number, 1 or more"),
        ({"effect": "revoked", "match": {"from_s": 5, "until_s": 5}}, "until_s is 5, from_s 5"),
        ({"effect": "revoked", "match": [1]}, "match is no JSON object"),
        ({"effect": "status"}, "status is None"),
        ({"effect": "status", "status": 200}, "no fault"),
        ({"effect": "status", "status": 200, "body": "cut", "when": "before"}, "was executed"),
        ({"effect": "status", "status": 500, "body": "xml"}, 'Use "json", "html"'),
        ({"effect": "flood"}, "needs retry_after_s"),
        ({"effect": "flood", "retry_after_s": 0}, "retry_after_s is 0"),
        ({"effect": "flood", "retry_after_s": []}, "retry_after_s is empty"),
        ({"effect": "flood", "retry_after_s": 5, "factor": 0.5}, "factor is 0.5"),
        ({"effect": "flood", "retry_after_s": 5, "scope": "world"}, 'Use "chat" or "bot"'),
        ({"effect": "flood", "retry_after_s": 5, "hold": "yes"}, "Use true or false"),
        ({"effect": "stall", "seconds": [8, 1]}, "Give the smaller end first"),
        ({"effect": "stall", "seconds": [1, 2, 3]}, "[least, most]"),
        ({"effect": "stall", "then": "500"}, 'Use "ok" or "429"'),
        ({"effect": "reset", "when": "during"}, 'Use "before" or "after"'),
        ({"effect": "migrate", "to": "-1001557912345"}, "Give match chat"),
        ({"effect": "migrate", "to": "-5", "match": {"chat": "-6"}}, "Give the id of a supergroup"),
        ({"effect": "migrate", "to": -1001557912345, "match": {"chat": -1001557912345}}, "the chat itself"),
        ({"effect": "chat", "state": "sad"}, 'Use "blocked", '),
        ({"effect": "moving_limit", "between": [30, 20]}, "Give [least, most]"),
        ({"effect": "moving_limit", "match": {"chat": 1}}, "Match only bot"),
        ({"effect": "trickle", "bytes_per_s": 0}, "bytes_per_s is 0"),
        ({"effect": "outage", "kind": "refuse"}, "Give it an end"),
        ({"effect": "outage", "kind": "refuse", "match": {"until_s": 1, "bot": "1"}}, "Match only from_s and until_s"),
    ],
)
async def test_a_rule_that_makes_no_sense_is_refused_in_one_line(simulate, rule, words):
    client = await simulate()
    status, body = await client.add(rule)
    assert status == 400
    assert words in body["error"]
    assert "\n" not in body["error"]
    assert await client.rules() == []
