"""The connections of hold messages: each its own, so that none is one that the other end gave up meanwhile."""

import asyncio

from outbox.deliver.classify import Answer, Failure
from outbox.deliver.send import Timeouts
from outbox.simulator.config import Config
from outbox.simulator.server import serve
from tests.send.sending import read_request, sending, speaking


async def test_a_fresh_connection_is_not_one_that_the_other_end_gave_up_meanwhile() -> None:
    async with serve(Config(connection_idle_s=0.2)) as telegram, sending(telegram.url) as sender:
        for fresh, answer in ((False, Answer), (False, Failure), (True, Answer), (True, Answer)):
            call = await sender.send("default", "42", "sendChatAction", '{"action": "typing"}', fresh=fresh)
            assert isinstance(call.answer, answer), f"fresh={fresh}: {call.answer}"
            await asyncio.sleep(0.3)


async def test_a_fresh_connection_has_its_whole_age_before_it() -> None:
    async with (
        serve(Config(connection_age_s=0.5, answer_s=0.3)) as telegram,
        sending(telegram.url, timeouts=Timeouts()) as sender,
    ):
        kept = [await sender.send("default", "42", "sendChatAction", '{"action": "typing"}') for _ in range(2)]
        assert [type(call.answer) for call in kept] == [Answer, Failure]
        for _ in range(3):
            call = await sender.send("default", "42", "sendChatAction", '{"action": "typing"}', fresh=True)
            assert isinstance(call.answer, Answer)
        # One each, and the first two calls shared theirs.
        assert len(telegram.ledger.clients) == 4


async def test_fresh_connections_are_closed_after_their_call_and_survive_a_rotation() -> None:
    open_now: set[object] = set()

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_now.add(writer)
        await read_request(reader)
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"ok":true}')
        assert await reader.read() == b"", "the client ends it"
        open_now.discard(writer)
        writer.close()

    async with speaking(speak) as url, sending(url, rotate_after_s=0.05) as sender:
        for _ in range(3):
            call = await sender.send("default", "42", "sendMessage", "{}", fresh=True)
            assert isinstance(call.answer, Answer)
            await sender.check_token("default")
            await asyncio.sleep(0.1)
            assert len(open_now) <= 1, "only the one kept alive"
