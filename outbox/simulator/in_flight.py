"""Requests of one chat that were open at once: a sender that keeps order never has two."""

from aiohttp import web


class InFlight:
    """How many requests of one bot to one chat were open at once, and the most there ever were."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], list[web.BaseRequest]] = {}
        self.most = 0

    def enter(self, lane: tuple[str, str], request: web.BaseRequest) -> None:
        """Count the request; those whose client has gone away no longer count: it may rightly try again."""
        still_open = [one for one in self._open.get(lane, ()) if one.transport is not None]
        still_open.append(request)
        self._open[lane] = still_open
        self.most = max(self.most, len(still_open))

    def leave(self, lane: tuple[str, str], request: web.BaseRequest) -> None:
        left = [one for one in self._open.get(lane, ()) if one is not request]
        if left:
            self._open[lane] = left
        else:
            self._open.pop(lane, None)
