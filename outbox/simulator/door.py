"""The port: closed while an outage refuses connections, and opened again."""

import asyncio
from collections.abc import Callable

from aiohttp import web

from outbox.simulator.faults import Faults
from outbox.simulator.waiting import Sleep, wait_for_event

_RETRY_S = 0.05


class Door:
    """Opens and closes the site by the rules of `faults`. `make_site` gives a site on the same port each time."""

    def __init__(self, site: web.BaseSite, make_site: Callable[[], web.BaseSite], faults: Faults, sleep: Sleep) -> None:
        self._site: web.BaseSite | None = site
        self._make_site = make_site
        self._faults = faults
        self._sleep = sleep
        self._changed = asyncio.Event()
        faults.on_change = self._changed.set

    async def watch(self) -> None:
        """Run until cancelled."""
        while True:
            self._changed.clear()
            closed, change_s = self._faults.refuses_connections()
            if closed and self._site is not None:
                await self._site.stop()
                self._site = None
            elif not closed and self._site is None and not await self._open():
                change_s = _RETRY_S
            await wait_for_event(self._changed, self._sleep, change_s)

    async def _open(self) -> bool:
        site = self._make_site()
        try:
            await site.start()
        except OSError:
            # Somebody's outgoing connection can sit on the port for a moment.
            await site.stop()
            return False
        self._site = site
        return True
