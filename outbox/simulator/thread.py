"""A simulator on a thread of its own: serves tests of any kind, sync or async, in the same process."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Generator, Iterator
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, TypeVar

from outbox.simulator.config import Config
from outbox.simulator.ledger import Call
from outbox.simulator.server import Running, serve

_Result = TypeVar("_Result")
TOKEN = "1:simulated"  # noqa: S105 (any digits:text is a bot)


class Coming:
    """A call that will come: `await` it in an async test, `.result()` in a sync one. Both raise TimeoutError."""

    def __init__(self, future: Future[Call]) -> None:
        self._future = future

    def result(self) -> Call:
        """Block until it has come; never in a test whose own event loop runs the bot."""
        return self._future.result()

    def __await__(self) -> Generator[Any, None, Call]:
        return asyncio.wrap_future(self._future).__await__()


class ThreadFaults:
    """The rules in force: docs/simulator.md, Faults."""

    def __init__(self, telegram: "Telegram") -> None:
        self._telegram = telegram

    def add(self, rules: list[dict[str, Any]]) -> None:
        """Append rules, all or none. Raises BadRuleError."""
        self._telegram._do(lambda simulator: simulator.faults.add(rules))

    def clear(self) -> None:
        """Drop every rule and what its effect had begun."""
        self._telegram._do(lambda simulator: simulator.faults.clear())

    def as_json(self) -> list[dict[str, Any]]:
        """The rules as they were given, with their hits."""
        return self._telegram._do(lambda simulator: simulator.faults.as_json())


class Telegram:
    """A simulator that runs on another thread, as a test sees it. Everything here may be called from any thread."""

    def __init__(self, running: Running, loop: asyncio.AbstractEventLoop) -> None:
        self.url = running.url
        """What a client takes for https://api.telegram.org."""
        self.token = TOKEN
        """A bot's. Any other works as well; updates are pushed to this one's bot unless they name another."""
        self.faults = ThreadFaults(self)
        self._simulator = running.simulator
        self._loop = loop

    @property
    def calls(self) -> list[Call]:
        """A copy of the ledger: every call so far, in order of arrival."""
        return self._do(lambda simulator: [replace(call) for call in simulator.ledger.calls])

    def stats(self) -> dict[str, Any]:
        """The figures of GET /_sim/stats, over all calls."""
        return self._do(lambda simulator: simulator.stats())

    def reset(self) -> None:
        """Forget everything: calls, windows, faults, message ids, updates, webhooks."""
        self._do(lambda simulator: simulator.renew())

    def push_update(self, update: dict[str, Any], bot: str | int | None = None) -> int:
        """Let the bot's getUpdates hand out this update, and return the update_id that it gets here.

        `bot` is the number in front of a token's colon; None: that of `token`. Raises BadUpdateError for what is no
        update.
        """
        number = self._number(bot)
        return int(self._do(lambda simulator: simulator.push(number, [update]))[0]["update_id"])

    def push_message(
        self, chat_id: int | str, text: str | None = None, *, bot: str | int | None = None, **fields: Any
    ) -> int:
        """Let a user write to the bot, and return the message_id.

        `fields` are other fields of the Message, and win over the usual ones: `photo=[…]`, `**{"from": {…}}`. Raises
        BadUpdateError for a chat that can be none.
        """
        number = self._number(bot)
        written = {"chat_id": chat_id} | ({} if text is None else {"text": text}) | fields
        (update,) = self._do(lambda simulator: simulator.push_messages(number, [written]))
        return int((update.get("message") or update["channel_post"])["message_id"])

    def wait_for(self, method: str, *, chat_id: int | str | None = None, n: int = 1, timeout_s: float = 5.0) -> Coming:
        """The n-th executed call of `method` (to that chat) since the last reset, which may have come already."""
        return Coming(asyncio.run_coroutine_threadsafe(self._wait_for(method, chat_id, n, timeout_s), self._loop))

    async def _wait_for(self, method: str, chat_id: int | str | None, n: int, timeout_s: float) -> Call:
        ledger = self._simulator.ledger
        chat = None if chat_id is None else str(chat_id).lower()
        executed = asyncio.Event()
        ledger.watching.add(executed)
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    executed.clear()
                    found = [
                        call
                        for call in ledger.calls
                        if call.verdict == "accepted"
                        and call.method.lower() == method.lower()
                        and chat in (None, call.chat)
                    ]
                    if len(found) >= n:
                        return replace(found[n - 1])
                    await executed.wait()
        except TimeoutError:
            came = ", ".join(f"{call.method} {call.status}" for call in ledger.calls[-20:]) or "none"
            where = "" if chat is None else f" to {chat}"
            raise TimeoutError(f"no {method}{where} number {n} within {timeout_s:g} s. Calls: {came}.") from None
        finally:
            ledger.watching.discard(executed)

    def _number(self, bot: str | int | None) -> str:
        return self.token.partition(":")[0] if bot is None else str(bot)

    def _do(self, act: Callable[[Any], _Result]) -> _Result:
        async def on_its_thread() -> _Result:
            return act(self._simulator)

        return asyncio.run_coroutine_threadsafe(on_its_thread(), self._loop).result()


@contextlib.contextmanager
def run_in_thread(config: Config | None = None, host: str = "127.0.0.1", port: int = 0) -> Iterator[Telegram]:
    """Run a simulator until the block ends; port 0 takes any free one. Raises OSError when the address is taken.

    Without a `config` it is strict, and keeps the parameters of every call.
    """
    started: Future[tuple[Telegram, Callable[[], None]]] = Future()
    living = _live(config or Config(keep_parameters=True), host, port, started)
    thread = threading.Thread(target=_run, args=(living, started), name="simulator", daemon=True)
    thread.start()
    telegram, stop = started.result()
    try:
        yield telegram
    finally:
        stop()
        thread.join()


async def _live(config: Config, host: str, port: int, started: "Future[tuple[Telegram, Callable[[], None]]]") -> None:
    async with serve(config, host, port) as running:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()

        def stop() -> None:
            loop.call_soon_threadsafe(ended.set)

        started.set_result((Telegram(running, loop), stop))
        await ended.wait()


def _run(living: Coroutine[Any, Any, None], started: "Future[Any]") -> None:
    try:
        asyncio.run(living)
    except BaseException as error:
        if started.done():
            raise
        started.set_exception(error)
