"""Rules without a named effect: status, delay_s, hang and reset as keys of the rule itself.

{"status": 500, "error_code": 500, "description": "…", "retry_after": 5, "parameters": {…}, "body": "<html>…"}
{"when": "after", "delay_s": 8.0}        wait on that side; alone, the call goes on as usual
{"hang": true}                           never answer
{"reset": "before" | "after"}            reset the connection; sets "when"
"""

from typing import cast

from outbox.simulator.answers import DESCRIPTIONS, Answer, json_answer
from outbox.simulator.fields import BadRuleError, Fields
from outbox.simulator.refusals import error_body
from outbox.simulator.stroke import Effect, Fixed, Side, Stroke

_SIDES = ("before", "after")


def parse_simple(fields: Fields) -> Effect:
    """Raises BadRuleError."""
    when = fields.choice("when", _SIDES, "before")
    reset = fields.choice("reset", _SIDES) if fields.has("reset") else fields.take("reset")
    delay_s = fields.number("delay_s", 0.0)
    hang = fields.flag("hang", False)
    answer = _answer(fields)
    # Unknown keys first: a misspelt one often leaves nothing to do.
    fields.finish()
    if reset:
        return Fixed(Stroke(delay_s=delay_s, ending="reset"), cast(Side, reset))
    if hang:
        return Fixed(Stroke(delay_s=delay_s, ending="silence"), cast(Side, when))
    if answer is None and not delay_s:
        raise BadRuleError("a rule needs something to do: effect, status, delay_s, hang or reset.")
    return Fixed(Stroke(delay_s=delay_s, answer=answer), cast(Side, when))


def _answer(fields: Fields) -> Answer | None:
    status = fields.whole("status", least=200, most=599)
    error_code = fields.whole("error_code", least=1, most=999)
    description = fields.text("description")
    retry_after_s = fields.whole("retry_after")
    parameters = dict(fields.table("parameters"))
    body = fields.text("body")
    if retry_after_s is not None:
        parameters["retry_after"] = retry_after_s
    if status is None:
        if error_code is None and description is None and body is None and not parameters:
            return None
        status = error_code or (429 if retry_after_s is not None else 500)
    if body is not None:
        return Answer(status, body.encode(), "text/html")
    code = error_code or status
    text = description or DESCRIPTIONS.get(code, f"Error {code}")
    text = text.replace("{retry_after}", str(parameters.get("retry_after", 1)))
    answer = json_answer(code, error_body(code, text, parameters))
    return Answer(status, answer.body, retry_after_s=answer.retry_after_s)
