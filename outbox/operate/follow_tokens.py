"""The bot tokens of this process, and what tells when their file changes."""

from __future__ import annotations

import os

from outbox.deliver.tokens import TokensFile
from outbox.settings import Settings, read_tokens


def follow_tokens(settings: Settings) -> TokensFile | None:
    """Return what tells when OUTBOX_TOKENS_FILE changes. Make it before reading the tokens: no change is missed."""
    if settings.tokens_file is None:
        return None
    return TokensFile(settings.tokens_file, lambda: read_tokens(os.environ, settings.tokens_file))
