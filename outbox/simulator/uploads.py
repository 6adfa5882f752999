"""The throttle of uploads that look like the same file sent again and again."""

from outbox.simulator.answers import flood_answer
from outbox.simulator.fields import Fields
from outbox.simulator.ledger import Call
from outbox.simulator.stroke import AS_USUAL, Effect, Scene, Stroke

# All from tdlib/telegram-bot-api Client.cpp:12667-12700.
SMALLEST_BYTES = 100_000
_GAP_S_PER_BYTE = 1e-7
_GAP_S = (0.2, 0.9)
MOST_BACKLOG_S = 5.0
_HOLD_S = 3.0
_RETRY_AFTER_S = 60


class UploadThrottle(Effect):
    """Uploads of one bot with the same number of bytes pass one after the other; too long a queue is a flood."""

    def __init__(self) -> None:
        self._free_at_s: dict[tuple[str, int], float] = {}

    def concerns(self, call: Call) -> bool:
        return call.uploaded_bytes > SMALLEST_BYTES

    def strike(self, call: Call, scene: Scene) -> Stroke:
        key = call.bot, call.uploaded_bytes
        turn_s = max(scene.now_s, self._free_at_s.get(key, scene.now_s))
        backlog_s = turn_s - scene.now_s
        if backlog_s > MOST_BACKLOG_S:
            return Stroke(hold_s=_HOLD_S, answer=flood_answer(_RETRY_AFTER_S))
        least_s, most_s = _GAP_S
        self._free_at_s[key] = turn_s + min(most_s, max(least_s, call.uploaded_bytes * _GAP_S_PER_BYTE))
        return Stroke(hold_s=backlog_s) if backlog_s else AS_USUAL


def parse_upload_throttle(fields: Fields) -> Effect:
    return UploadThrottle()
