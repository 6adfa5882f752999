"""Listens for HTTP where a setting says, and says in one line why it cannot."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import AsyncIterator

from aiohttp import web

from outbox.settings import Address, UsageError


@contextlib.asynccontextmanager
async def listen(runner: web.AppRunner, address: Address, setting: str) -> AsyncIterator[str]:
    """Serve while the block runs; yields http://host:port. `setting` is the variable that named the address.

    Raises UsageError where nobody can listen there.
    """
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, address.host, address.port).start()
        except OSError as error:
            is_taken = error.errno == errno.EADDRINUSE
            what = "is taken by another program" if is_taken else f"is no address to listen on: {error.strerror}"
            raise UsageError(f"{setting} {address} {what}", f"Set {setting} to another host:port, or to off") from None
        yield f"http://{address._replace(port=runner.addresses[0][1])}"
    finally:
        await runner.cleanup()
