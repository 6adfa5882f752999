"""The simulator as an application and as a server that listens."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from aiohttp import web

from outbox.simulator.bot_api import Simulator
from outbox.simulator.config import Config
from outbox.simulator.control import add_control_routes
from outbox.simulator.door import Door
from outbox.simulator.faults import Faults
from outbox.simulator.files import add_download_route
from outbox.simulator.ledger import Ledger
from outbox.simulator.parameters import MOST_PARAMETER_BYTES
from outbox.simulator.waiting import Sleep

SIMULATOR = web.AppKey("simulator", Simulator)


def create_app(
    config: Config | None = None, clock: Callable[[], float] = time.monotonic, sleep: Sleep = asyncio.sleep
) -> web.Application:
    """The simulator as an application to run or mount; its Simulator is app[SIMULATOR].

    Without serve() nothing closes the port: an outage that refuses connections resets them.
    """
    simulator = Simulator(config or Config(), clock, sleep)
    app = web.Application(client_max_size=MOST_PARAMETER_BYTES)
    app[SIMULATOR] = simulator
    add_control_routes(app, simulator)
    add_download_route(app)
    app.router.add_route("*", "/{path:.*}", simulator.answer)

    async def stop(_: web.Application) -> None:
        await simulator.stop()

    app.on_shutdown.append(stop)
    return app


@dataclass(frozen=True, slots=True)
class Running:
    """A simulator that listens; `url` is what a client takes for https://api.telegram.org."""

    url: str
    simulator: Simulator

    @property
    def ledger(self) -> Ledger:
        return self.simulator.ledger

    @property
    def faults(self) -> Faults:
        return self.simulator.faults


@contextlib.asynccontextmanager
async def serve(
    config: Config | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Sleep = asyncio.sleep,
) -> AsyncIterator[Running]:
    """Listen until the block ends; port 0 takes any free one. Raises OSError when the address is taken."""
    app = create_app(config, clock, sleep)
    simulator = app[SIMULATOR]
    watching: asyncio.Task[None] | None = None
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=1024)
        await site.start()
        bound_port = runner.addresses[0][1]

        def open_again() -> web.BaseSite:
            return web.TCPSite(runner, host, bound_port, backlog=1024)

        watching = asyncio.create_task(Door(site, open_again, simulator.faults, sleep).watch())
        yield Running(f"http://{f'[{host}]' if ':' in host else host}:{bound_port}", simulator)
    finally:
        if watching is not None:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
        await runner.cleanup()
