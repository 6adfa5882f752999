"""Every OUTBOX_ variable: its default, unit and bound. Bot tokens are read apart, by read_tokens()."""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

BOT_TOKEN = re.compile(r"[0-9]{1,18}:[A-Za-z0-9_-]{1,100}")  # Telegram's are 8-10 digits and 35 characters today
BOT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
# As outbox.message has it: an entry of the allow-list in any other form would never match.
CHAT_ID = re.compile(r"-?[1-9][0-9]{0,18}|@[a-z][a-z0-9_]{2,63}")
# OUTBOX_TOKENS_FILE begins like a token variable; a bot of that name can only come from the file itself.
NOT_A_TOKEN = frozenset({"OUTBOX_TOKENS_FILE"})


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class UsageError(Exception):
    """Something the user has to change. Its text is one line: what happened, then what to do."""

    def __init__(self, what: str, do: str) -> None:
        super().__init__(f"{what}. {do}.")


class Address(NamedTuple):
    """Where to listen."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """Return the folder for what must survive a restart: /var/lib/outbox as root, else the user's data folder."""
    if os.geteuid() == 0:
        # Root's home is closed to `nobody`, who runs root's embedded PostgreSQL.
        return Path("/var/lib/outbox")
    home = environ.get("XDG_DATA_HOME", "")
    if Path(home).is_absolute():
        return Path(home) / "outbox"
    try:
        return Path.home() / ".local" / "share" / "outbox"
    except RuntimeError:  # no HOME and no passwd entry, as in some containers
        return Path(f"/var/tmp/outbox-{os.geteuid()}")  # noqa: S108 - made with mode 0700 by who uses it


class Settings(BaseSettings):
    """What the environment says. Use load_settings(), which turns a bad value into one line."""

    model_config = SettingsConfigDict(
        env_prefix="OUTBOX_", extra="ignore", frozen=True, hide_input_in_errors=True, validate_default=True
    )

    database_url: SecretStr | None = Field(
        default=None,
        description="PostgreSQL 15 or newer, as libpq URL; several hosts allowed. Use connect.database_url().",
    )
    tokens_file: Path | None = Field(
        default=None, description='TOML file of bot tokens, a line `name = "123:ABC"` each; read again when it changes.'
    )
    api_url: str = Field(
        default="https://api.telegram.org", description="Bot API server; requests go to <url>/bot<token>/<method>."
    )
    environment: str = Field(
        default="default",
        description="Label of this installation, 1-63 of a-z 0-9 _ -. A database remembers it: see outbox adopt.",
    )
    only_chats: Annotated[frozenset[str] | None, NoDecode] = Field(
        default=None,
        description="Allow-list of chats, comma-separated, for test systems: messages to others end as discarded.",
    )
    data_dir: Path = Field(
        default_factory=lambda: default_data_dir(os.environ),
        description="Folder of the embedded server and the spool. As root /var/lib/outbox, else ~/.local/share/outbox.",
    )
    log: Literal["console", "json"] = Field(default="console", description="Form of the log lines on stderr.")
    metrics_addr: Annotated[Address | None, NoDecode] = Field(
        default=Address("127.0.0.1", 9464),
        description="host:port of /metrics, /healthz and /readyz; `off` for none. They show no message and no token.",
    )
    admin_addr: Annotated[Address | None, NoDecode] = Field(
        default=Address("127.0.0.1", 8480),
        description="host:port of the operator's page; `off` for none. Beyond loopback only with one of the next two.",
    )
    admin_password: SecretStr | None = Field(
        default=None, description="Password of the operator's page, 8 characters or more."
    )
    trusted_header: str | None = Field(
        default=None,
        description="HTTP header in which a proxy names the operator, such as X-Forwarded-User. The proxy must strip it"
        " from what comes in, and without https send Host: 127.0.0.1; only proxies of OUTBOX_TRUSTED_PROXIES are"
        " believed.",
    )
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = Field(
        default=(ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")),
        description="Networks of the proxies before the page, comma-separated, such as 10.0.3.0/24: their word is taken"
        " for who comes (OUTBOX_TRUSTED_HEADER) and from where (X-Forwarded-For).",
    )
    admin_prefix: str = Field(
        default="", description="Path under which a proxy shows the page, such as /outbox; empty for none."
    )
    payload_readers: Annotated[frozenset[str], NoDecode] = Field(
        default=frozenset(),
        description="Operators who may read what messages hold, comma-separated, as OUTBOX_TRUSTED_HEADER names them;"
        " `*` for all who may open the page. Default: nobody.",
    )

    @field_validator("api_url")
    @classmethod
    def _check_api_url(cls, value: str) -> str:
        if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", value):
            raise ValueError("is not an http or https URL")
        return value.rstrip("/")

    @field_validator("environment")
    @classmethod
    def _check_environment(cls, value: str) -> str:
        if not BOT_NAME.fullmatch(value):
            raise ValueError("is not a label of 1-63 characters a-z 0-9 _ -")
        return value

    @field_validator("only_chats", mode="before")
    @classmethod
    def _split_chats(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        chats = frozenset(part.strip().lower() for part in value.split(",") if part.strip())
        if not chats:
            raise ValueError("is empty: unset it to write to every chat, or list the chats")
        if wrong := sorted(chat for chat in chats if not CHAT_ID.fullmatch(chat)):
            raise ValueError(f"holds {wrong[0]!r}, which is neither a number nor an @name")
        return chats

    @field_validator("metrics_addr", "admin_addr", mode="before")
    @classmethod
    def _read_address(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value.lower() in ("off", "none", "0"):
            return None
        host, _, port = value.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise ValueError(f"is {value!r}, not host:port, such as 127.0.0.1:9464 or [::]:9464")
        return Address(host, int(port))

    @field_validator("admin_password")
    @classmethod
    def _check_password(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 8:
            raise ValueError("is shorter than 8 characters")
        return value

    @field_validator("trusted_header")
    @classmethod
    def _check_header(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[A-Za-z0-9-]{1,64}", value):
            raise ValueError("is not the name of an HTTP header")
        return value

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _split_networks(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        networks = []
        for part in filter(None, map(str.strip, value.split(","))):
            try:
                networks.append(ipaddress.ip_network(part))
            except ValueError:
                raise ValueError(f"holds {part!r}, which is no network such as 10.0.3.0/24 or fd00::/8") from None
        return tuple(networks)

    @field_validator("admin_prefix")
    @classmethod
    def _check_prefix(cls, value: str) -> str:
        value = value.rstrip("/")
        if value and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", value):
            raise ValueError("is not a path such as /outbox")
        return value

    @field_validator("payload_readers", mode="before")
    @classmethod
    def _split_readers(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return frozenset(part.strip() for part in value.split(",") if part.strip())

    # Last, because pydantic runs `before` validators from the last to the first.
    @field_validator("*", mode="before")
    @classmethod
    def _take_empty_for_unset(cls, value: Any, info: Any) -> Any:
        # `OUTBOX_LOG=` in a compose file means "nothing set". Not so for the allow-list: there an empty variable
        # would quietly mean everybody.
        if isinstance(value, str) and not value.strip() and info.field_name != "only_chats":
            return cls.model_fields[info.field_name].get_default(call_default_factory=True)
        return value.strip() if isinstance(value, str) else value


def load_settings() -> Settings:
    """Read the environment. Raises UsageError, which names the variable and never shows a secret."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = "OUTBOX_" + str(first["loc"][0]).upper()
        text = str(first["msg"]).removeprefix("Value error, ")
        if first["type"] == "literal_error":
            text = f"must be {first['ctx']['expected']}"
        raise UsageError(f"{name} {text}", f"Correct {name} or unset it") from None


def read_tokens(environ: Mapping[str, str], file: Path | None = None) -> dict[str, SecretStr]:
    """Return each bot's token: OUTBOX_TOKEN is of bot `default`, OUTBOX_TOKEN_<NAME> of `<name>`, `file` names its own.

    Raises UsageError for a token that is none, a file that cannot be read, or a bot named twice with different
    tokens; the text names the variable or line, never the value.
    """
    tokens: dict[str, SecretStr] = {}
    for variable, value in sorted(environ.items()):
        if variable in NOT_A_TOKEN or not value.strip():
            continue
        if variable == "OUTBOX_TOKEN":
            _add_token(tokens, "default", value, variable)
        elif variable.startswith("OUTBOX_TOKEN_"):
            _add_token(tokens, variable.removeprefix("OUTBOX_TOKEN_"), value, variable)
    if file is not None:
        for name, value in _read_tokens_file(file).items():
            _add_token(tokens, name, value, f"{name!r} in {file}")
    return tokens


def token_source(bot: str) -> str:
    """Return where the token of a bot is to be put: what to set, for advice."""
    if bot == "default":
        return "OUTBOX_TOKEN"
    if "-" in bot:  # no shell takes such a variable
        return f'a line {bot} = "123:ABC" in OUTBOX_TOKENS_FILE'
    return f"OUTBOX_TOKEN_{bot.upper()}"


def _read_tokens_file(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"OUTBOX_TOKENS_FILE {file} cannot be read: {error.strerror}", "Correct the path or the file's mode"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        where = re.search(r"at line \d+", str(error))  # the rest of the text may quote a token
        raise UsageError(
            f"OUTBOX_TOKENS_FILE {file} is not TOML{' ' + where[0] if where else ''}",
            'Write one line per bot: name = "123456:ABC…"',
        ) from None


def _add_token(tokens: dict[str, SecretStr], name: str, value: object, source: str) -> None:
    bot = name.lower()
    if not BOT_NAME.fullmatch(bot):
        raise UsageError(f"{source} names no bot", "Bot names are 1-63 characters a-z 0-9 _ -")
    if not isinstance(value, str) or not BOT_TOKEN.fullmatch(value.strip()):
        raise UsageError(f"{source} is not a bot token", "Copy it from @BotFather: digits, a colon, 35 characters")
    token = SecretStr(value.strip())
    if bot in tokens and tokens[bot] != token:
        raise UsageError(f"{source} gives bot {bot!r} a second token", "Keep one of the two")
    tokens[bot] = token
