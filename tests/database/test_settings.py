"""What the environment says: values, bounds, and bot tokens that never show."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from outbox.settings import Settings, UsageError, default_data_dir, load_settings, read_tokens

TOKEN = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1"
OTHER = "987654321:BBHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw2"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in [name for name in os.environ if name.startswith("OUTBOX_")]:
        monkeypatch.delenv(name)


def refused(text: str) -> None:
    """The error is one line and shows no token."""
    assert "\n" not in text
    assert "AAHdq" not in text
    assert "BBHdq" not in text


def test_without_any_variable_the_defaults_hold():
    settings = load_settings()
    assert settings.database_url is None
    assert settings.api_url == "https://api.telegram.org"
    assert settings.only_chats is None
    assert settings.log == "console"


def test_every_variable_is_read(monkeypatch, tmp_path):
    given = {
        "DATABASE_URL": "postgresql://u:secret@db/app",
        "API_URL": "http://localhost:8081/",
        "ENVIRONMENT": "staging",
        "ONLY_CHATS": "42, -100123,@News",
        "DATA_DIR": str(tmp_path),
        "LOG": "json",
        "METRICS_ADDR": "[::]:9000",
        "ADMIN_ADDR": "off",
        "ADMIN_PASSWORD": "long enough",
        "TRUSTED_HEADER": "X-Forwarded-User",
        "TRUSTED_PROXIES": "10.0.3.0/24, fd00::/8,",
        "ADMIN_PREFIX": "/ops/outbox/",
        "PAYLOAD_READERS": "ann, bob@ops.example,",
        "TOKENS_FILE": str(tmp_path / "tokens.toml"),
    }
    assert {name.lower() for name in given} == set(Settings.model_fields), "a variable without a test"
    for name, value in given.items():
        monkeypatch.setenv(f"OUTBOX_{name}", value)
    settings = load_settings()
    assert settings.api_url == "http://localhost:8081"
    assert settings.only_chats == {"42", "-100123", "@news"}
    assert settings.data_dir == tmp_path
    assert settings.metrics_addr == ("::", 9000)
    assert settings.admin_addr is None
    assert settings.admin_prefix == "/ops/outbox"
    assert settings.payload_readers == {"ann", "bob@ops.example"}
    assert [str(network) for network in settings.trusted_proxies] == ["10.0.3.0/24", "fd00::/8"]
    assert settings.tokens_file == tmp_path / "tokens.toml"
    assert "secret" not in repr(settings)
    assert "long enough" not in repr(settings)


def test_every_variable_has_a_description():
    assert all(field.description for field in Settings.model_fields.values())


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("LOG", "xml", "must be 'console' or 'json'"),
        ("API_URL", "api.telegram.org", "is not an http or https URL"),
        ("METRICS_ADDR", "9464", "not host:port"),
        ("ADMIN_ADDR", "localhost:99999", "not host:port"),
        ("ADMIN_PASSWORD", "short", "is shorter than 8 characters"),
        ("ENVIRONMENT", "My Production", "is not a label"),
        ("ONLY_CHATS", "42,bob", "'bob', which is neither a number nor an @name"),
        ("ONLY_CHATS", "42,0043", "'0043', which is neither a number nor an @name"),
        ("TRUSTED_HEADER", "X User", "is not the name of an HTTP header"),
        ("TRUSTED_PROXIES", "10.0.3.1/24", "'10.0.3.1/24', which is no network"),
        ("ADMIN_PREFIX", "outbox", "is not a path such as /outbox"),
        ("ADMIN_PREFIX", "//evil.example", "is not a path such as /outbox"),
    ],
)
def test_a_bad_value_is_one_line_that_names_the_variable(monkeypatch, name, value, said):
    monkeypatch.setenv(f"OUTBOX_{name}", value)
    with pytest.raises(UsageError) as caught:
        load_settings()
    text = str(caught.value)
    assert text.startswith(f"OUTBOX_{name} ")
    assert said in text
    assert "\n" not in text


def test_an_empty_allow_list_does_not_mean_everybody(monkeypatch):
    monkeypatch.setenv("OUTBOX_ONLY_CHATS", " ")
    with pytest.raises(UsageError, match="OUTBOX_ONLY_CHATS is empty"):
        load_settings()


def test_any_other_empty_variable_counts_as_unset(monkeypatch):
    for name in Settings.model_fields:
        if name != "only_chats":
            monkeypatch.setenv(f"OUTBOX_{name.upper()}", "")
    assert load_settings() == Settings()
    assert load_settings().database_url is None


def test_a_refused_password_is_not_shown(monkeypatch):
    monkeypatch.setenv("OUTBOX_ADMIN_PASSWORD", "hunter2")
    with pytest.raises(UsageError) as caught:
        load_settings()
    assert "hunter2" not in repr(caught.value)


def test_data_of_a_user_is_where_xdg_says(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert default_data_dir({"XDG_DATA_HOME": "/srv/data"}) == Path("/srv/data/outbox")
    assert default_data_dir({"XDG_DATA_HOME": "relative"}) == Path.home() / ".local/share/outbox"


def test_a_token_without_a_name_is_of_bot_default():
    tokens = read_tokens({"OUTBOX_TOKEN": TOKEN})
    assert tokens["default"].get_secret_value() == TOKEN


def test_a_token_with_a_name_is_of_that_bot_in_lower_case():
    assert set(read_tokens({"OUTBOX_TOKEN_ALERTS": TOKEN, "OUTBOX_TOKEN_NEWS_2": OTHER})) == {"alerts", "news_2"}


def test_a_file_brings_tokens_beside_those_of_the_environment(tmp_path):
    file = tmp_path / "tokens.toml"
    file.write_text(f'alerts = "{TOKEN}"\n')
    assert set(read_tokens({"OUTBOX_TOKEN": OTHER, "OUTBOX_TOKENS_FILE": str(file)}, file)) == {"default", "alerts"}


def test_no_token_shows_in_a_repr():
    assert "AAHdq" not in repr(read_tokens({"OUTBOX_TOKEN": TOKEN}))


@pytest.mark.parametrize("value", ["AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1", "12 34:AAHdq", f"bot{TOKEN}", f"{TOKEN} x"])
def test_a_value_that_is_no_token_is_refused_by_the_variables_name(value):
    with pytest.raises(UsageError, match="OUTBOX_TOKEN_ALERTS is not a bot token") as caught:
        read_tokens({"OUTBOX_TOKEN_ALERTS": value})
    refused(str(caught.value))


def test_two_tokens_for_one_bot_are_refused(tmp_path):
    file = tmp_path / "tokens.toml"
    file.write_text(f'ALERTS = "{OTHER}"\n')
    with pytest.raises(UsageError, match=r"gives bot 'alerts' a second token") as caught:
        read_tokens({"OUTBOX_TOKEN_ALERTS": TOKEN}, file)
    refused(str(caught.value))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"alerts = {TOKEN}", "is not TOML at line 1"),
        (f'x = 1\nalerts = "{TOKEN}', "is not TOML"),
        (f'[alerts]\ntoken = "{TOKEN}"', "'alerts' in .* is not a bot token"),
        (f'"no bot" = "{TOKEN}"', "names no bot"),
        ("alerts = 12", "'alerts' in .* is not a bot token"),
    ],
)
def test_a_bad_file_is_one_line_without_its_tokens(tmp_path, text, said):
    file = tmp_path / "tokens.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=said) as caught:
        read_tokens({}, file)
    refused(str(caught.value))


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_tokens({}, tmp_path / "none.toml")
