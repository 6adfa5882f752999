"""The effects that answer, hold or break one call and remember nothing. EFFECTS names all there are."""

from collections.abc import Callable
from dataclasses import replace
from typing import cast

from outbox.simulator.answers import BODIES, DESCRIPTIONS, Answer, Body, flood_answer, refusal
from outbox.simulator.chats import parse_chat, parse_migrate
from outbox.simulator.fields import BadRuleError, Fields
from outbox.simulator.floods import MOST_RETRY_AFTER_S, parse_flood
from outbox.simulator.ledger import Call
from outbox.simulator.match import Match
from outbox.simulator.methods import MULTIPLES
from outbox.simulator.moving_limit import parse_moving_limit
from outbox.simulator.stroke import Effect, Ending, Fixed, Scene, Side, Stroke
from outbox.simulator.uploads import parse_upload_throttle

# Telegram's server holds a call for up to 8 s for a bot (tdlib/td NetQueryCreator.cpp, total_timeout_limit).
HOLD_S = (1.0, 8.0)
# After its own failures: back-off of 1, 2, 4 s, and the next step of 8 s is too long (tdlib/td NetQueryDelayer.cpp).
RETRY_AFTER_HOLD_S = 8
# Query.h, set_retry_after_error(5) for queries that a closing server drops.
RETRY_AFTER_RESTART_S = 5
_SIDES = ("before", "after")


def _status(fields: Fields) -> Effect:
    status = fields.whole("status", least=200, most=599)
    if status is None or 200 < status < 300:
        raise BadRuleError(f"status is {status!r}. Use 200, or 300 to 599.")
    text = fields.text("text")
    body = cast(Body, fields.choice("body", BODIES, "json"))
    retry_after_s = fields.whole("retry_after_s", least=1, most=MOST_RETRY_AFTER_S)
    side = cast(Side, fields.choice("when", _SIDES, "after" if status == 200 else "before"))
    if status == 200:
        if text is None and body == "json":
            raise BadRuleError('a 200 with its own body is no fault. Use body "html", "empty", "truncated" or "cut".')
        if side == "before":
            raise BadRuleError('a 200 says that the call was executed. Use when "after", or another status.')
    code = fields.whole("error_code", status, least=1, most=999) or status
    usual = DESCRIPTIONS.get(code, f"Error {code}")
    if code == 429:
        usual = "Too Many Requests" if retry_after_s is None else f"Too Many Requests: retry after {retry_after_s}"
    description = fields.text("description") or usual
    parameters = dict(fields.table("parameters"))
    if retry_after_s is not None:
        parameters["retry_after"] = retry_after_s
    if text is not None:
        return Fixed(Stroke(answer=Answer(status, text.encode(), "text/html", retry_after_s), body=body), side)
    if status == 200:
        return Fixed(Stroke(body=body), side)
    answer = replace(refusal(code, description, parameters), status=status)
    return Fixed(Stroke(answer=answer, body=body), side)


def _ending(ending: Ending) -> Callable[[Fields], Effect]:
    def parse(fields: Fields) -> Effect:
        return Fixed(Stroke(ending=ending), cast(Side, fields.choice("when", _SIDES, "before")))

    return parse


def _late(fields: Fields) -> Effect:
    status = fields.whole("status", 504, least=400, most=599) or 504
    description = fields.text("description") or DESCRIPTIONS.get(status, f"Error {status}")
    stroke = Stroke(
        answer=refusal(status, description),
        body=cast(Body, fields.choice("body", BODIES, "json")),
        hold_s=fields.number("hold_s", 0.0),
        late_s=fields.number("after_s", 1.0),
    )
    return Fixed(stroke)


class Stall(Effect):
    """Hold the call, unseen from outside; then execute it, or say 429."""

    def __init__(self, span_s: tuple[float, float], answer: Answer | None) -> None:
        self._span_s = span_s
        self._answer = answer

    def strike(self, call: Call, scene: Scene) -> Stroke:
        return Stroke(hold_s=scene.chance.uniform(*self._span_s), answer=self._answer)


def _stall(fields: Fields) -> Effect:
    span_s = fields.span("seconds", HOLD_S) or HOLD_S
    then = fields.choice("then", ("ok", "429"), "ok")
    if then == "ok":
        return Stall(span_s, None)
    retry_after_s = fields.whole("retry_after_s", RETRY_AFTER_HOLD_S, least=1, most=MOST_RETRY_AFTER_S)
    return Stall(span_s, flood_answer(retry_after_s or RETRY_AFTER_HOLD_S))


class Restart(Effect):
    """A server that goes down: dropped calls are told to come again, refused ones hear of the restart."""

    def __init__(self, aborted_share: float) -> None:
        self._aborted_share = aborted_share

    def strike(self, call: Call, scene: Scene) -> Stroke:
        draw = scene.chance.random()
        if draw < self._aborted_share:
            answer = refusal(500, "Internal Server Error: request aborted")
            return Stroke(answer=answer, late_s=0.0 if scene.chance.random() < 0.5 else None)
        if scene.chance.random() < 0.5:
            return Stroke(answer=flood_answer(RETRY_AFTER_RESTART_S))
        return Stroke(answer=refusal(500, "Internal Server Error: restart"))


def _restart(fields: Fields) -> Effect:
    return Restart(fields.number("aborted_share", 0.0, most=1.0))


def _revoked(fields: Fields) -> Effect:
    return Fixed(Stroke(answer=refusal(401, DESCRIPTIONS[401])))


def _trickle(fields: Fields) -> Effect:
    return Fixed(Stroke(bytes_per_s=fields.number("bytes_per_s", 10.0, least=0.1)), "after")


class AlbumFlood(Effect):
    """A flood that hit one of several messages, and is told as a 400 of the whole call."""

    def __init__(self, position: int, made: int, retry_after_s: int) -> None:
        flood = f"Too Many Requests: retry after {retry_after_s}"
        self._answer = refusal(400, f'Bad Request: failed to send message #{position} with the error message "{flood}"')
        self._position = position
        self._made = made

    def concerns(self, call: Call) -> bool:
        return call.method.lower() in MULTIPLES and call.cost >= self._position

    def strike(self, call: Call, scene: Scene) -> Stroke:
        return Stroke(answer=self._answer, made=min(self._made, call.cost - 1))


def _album_flood(fields: Fields) -> Effect:
    position = fields.whole("at", 1, least=1, most=100) or 1
    made = fields.whole("sent", position - 1, least=0, most=99) or 0
    retry_after_s = fields.whole("retry_after_s", RETRY_AFTER_HOLD_S, least=1, most=MOST_RETRY_AFTER_S)
    return AlbumFlood(position, made, retry_after_s or RETRY_AFTER_HOLD_S)


class FewerIds(Effect):
    """Messages that are gone are left out of a copy, and the call succeeds."""

    def __init__(self, missing: int) -> None:
        self._missing = missing

    def concerns(self, call: Call) -> bool:
        return call.method.lower() in ("copymessages", "forwardmessages") and call.cost > self._missing

    def strike(self, call: Call, scene: Scene) -> Stroke:
        return Stroke(made=call.cost - self._missing)


def _fewer_ids(fields: Fields) -> Effect:
    return FewerIds(fields.whole("missing", 1, least=1, most=100) or 1)


class Outage(Fixed):
    """Everything is gone. `refuses` also closes the port, which door.py does."""

    def __init__(self, stroke: Stroke, refuses: bool) -> None:
        super().__init__(stroke)
        self.refuses = refuses

    def check(self, match: Match) -> None:
        if not self.refuses:
            return
        if not match.is_about_time_only:
            raise BadRuleError("an outage that refuses connections hits everybody. Match only from_s and until_s.")
        if match.until_s is None:
            raise BadRuleError("an outage that refuses connections refuses yours too. Give it an end: match until_s.")


def _outage(fields: Fields) -> Effect:
    kind = fields.choice("kind", ("refuse", "reset", "502"), "reset")
    if kind == "502":
        return Outage(Stroke(answer=refusal(502, DESCRIPTIONS[502]), body="html"), refuses=False)
    return Outage(Stroke(ending="reset"), refuses=kind == "refuse")


EFFECTS: dict[str, Callable[[Fields], Effect]] = {
    "status": _status,
    "flood": parse_flood,
    "stall": _stall,
    "reset": _ending("reset"),
    "silence": _ending("silence"),
    "late": _late,
    "migrate": parse_migrate,
    "chat": parse_chat,
    "revoked": _revoked,
    "restart": _restart,
    "album_flood": _album_flood,
    "fewer_ids": _fewer_ids,
    "upload_throttle": parse_upload_throttle,
    "trickle": _trickle,
    "moving_limit": parse_moving_limit,
    "outage": _outage,
}
