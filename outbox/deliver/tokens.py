"""The file of bot tokens, read again when it changes."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from pydantic import SecretStr

LOOK_EVERY_S: Final = 1.0

# What tells one state of the file from another; None: it is not there. What an orchestrator swaps by a symbolic link
# has a new inode.
_State = tuple[int, int, int] | None


class TokensFile:
    """Bot tokens of a file and of the environment. A file that is being written is left alone until it stands still."""

    def __init__(self, file: Path, read: Callable[[], Mapping[str, SecretStr]]) -> None:
        """`read` returns all tokens of this process, those of the environment too."""
        self._file = file
        self._read = read
        self._taken = self._seen = self._state()

    def changed(self) -> Mapping[str, SecretStr] | None:
        """Return the tokens if the file changed and has not changed since the last call; call every LOOK_EVERY_S.

        Raises what `read` raises, once for each state of the file.
        """
        before, self._seen = self._seen, self._state()
        if self._seen == self._taken or self._seen != before:
            return None
        self._taken = self._seen
        return self._read()

    def again(self) -> None:
        """Have the next call return the tokens once more: what it returned could not be used yet."""
        self._taken = (-1, -1, -1)

    def _state(self) -> _State:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size
