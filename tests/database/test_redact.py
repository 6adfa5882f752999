"""No token leaves through a log line, an error text or a traceback."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from outbox.redact import RedactingFilter, scrub, scrub_event

SECRET = "AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1"
TOKEN = f"123456789:{SECRET}"


@pytest.mark.parametrize(
    "text",
    [
        f"POST https://api.telegram.org/bot{TOKEN}/sendMessage",
        f"https://api.telegram.org/bot123456789%3A{SECRET}/getMe",
        f"https://api.telegram.org/file/bot{TOKEN}/photo.jpg",
        f"token={TOKEN}",
        f"bot{TOKEN}",
        f"('{TOKEN}',)",
        f'{{"token":"{TOKEN}"}}',
        f"{TOKEN}, and once more {TOKEN}",
    ],
)
def test_a_token_is_cut_out_wherever_it_stands(text):
    assert SECRET not in scrub(text)
    assert "123456789" in scrub(text), "the bot's number is no secret and says which"


def test_a_short_token_in_a_path_is_cut_out_too():
    assert scrub("http://127.0.0.1:8081/bot42:TEST/sendMessage") == "http://127.0.0.1:8081/bot42:***/sendMessage"


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://app:hunter2@db:5432/app",
        "postgres://app:hunter2@a,b/app?target_session_attrs=any",
        "postgresql+psycopg://app:p@hunter2@db/app",
        "host=db user=app password=hunter2 dbname=app",
        "host=db password='hun\\'hunter2 x' dbname=app",
        "postgresql://db/app?user=app&password=hunter2&sslmode=require",
    ],
)
def test_a_database_password_is_cut_out(text):
    assert "hunter2" not in scrub(text)
    assert "app" in scrub(text)


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-02 12:00:00.123456",
        "http://127.0.0.1:8081/healthz",
        "sha256:d2a84f4b8b650937ec8f73cd8be2c74add5a911ba64df27458ed8229da804a26",
        "chat 123456789: 3 messages wait",
    ],
)
def test_what_is_no_secret_stays(text):
    assert scrub(text) == text


def logged(*arguments: object, **options: object) -> str:
    output = io.StringIO()
    handler = logging.StreamHandler(output)
    handler.addFilter(RedactingFilter())
    logger = logging.Logger("test")
    logger.addHandler(handler)
    logger.warning(*arguments, **options)  # type: ignore[arg-type]
    return output.getvalue()


def test_a_log_line_is_clean_in_message_and_arguments():
    text = logged("POST %s of %r", f"/bot{TOKEN}/sendMessage", {"token": TOKEN})
    assert SECRET not in text
    assert "/bot123456789:***/sendMessage" in text


def test_a_log_lines_traceback_is_clean_in_cause_and_source():
    def fail() -> None:
        try:
            raise ValueError(f"cannot reach /bot{TOKEN}/getMe")
        except ValueError as error:
            raise RuntimeError(TOKEN) from error

    try:
        fail()
    except RuntimeError:
        text = logged("failed", exc_info=sys.exc_info())
    assert "RuntimeError" in text
    assert "ValueError" in text
    assert SECRET not in text


def test_a_wrong_format_string_does_not_print_the_raw_arguments():
    assert SECRET not in logged("%d", TOKEN)


def test_a_structured_event_is_clean_at_every_depth():
    event = scrub_event(None, "info", {"event": "sent", "url": f"/bot{TOKEN}/x", "deep": [{"token": TOKEN}], "n": 1})
    assert SECRET not in repr(event)
    assert event["n"] == 1
