"""The SQL of panels as PostgreSQL takes it: Grafana's macros in place. For tests and the bench."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STEP = "1 min"


def sql_panels(path: Path) -> Iterator[tuple[str, str]]:
    """Yield title and SQL of each panel of a dashboard that asks PostgreSQL."""
    panels: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["panels"]
    for panel in panels:
        for inner in (panel, *panel.get("panels", ())):
            for target in inner.get("targets", ()):
                if "rawSql" in target:
                    yield inner["title"], target["rawSql"]


def in_place(sql: str, *, since: str, bots: list[str]) -> str:
    """Return `sql` for the time from `since` (an SQL expression) until now and these bots."""
    sql = re.sub(r"\$__timeFilter\((\w+)\)", rf"\1 BETWEEN {since} AND now()", sql)
    sql = re.sub(r"\$__timeGroupAlias\((\w+),\s*\$__interval\)", f"date_bin('{STEP}', \\1, 'epoch') AS \"time\"", sql)
    listed = ", ".join("'" + bot.replace("'", "''") + "'" for bot in bots)
    return sql.replace("$bot", listed)
