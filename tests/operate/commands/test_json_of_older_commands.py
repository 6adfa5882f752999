"""--json of migrate, adopt, db and demo: one document on stdout, everything else on stderr."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from outbox.database.migrate import head_revision
from outbox.operate import demo

TOKEN = "1000001:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0"


def test_migrate_names_the_revision(empty_db, outbox):
    done = outbox("migrate", "--json", OUTBOX_DATABASE_URL=empty_db.url)
    assert done.code == 0, done.err
    assert json.loads(done.out) == {"revision": head_revision(), "notices": []}


def test_a_script_is_not_json(outbox):
    done = outbox("migrate", "--sql", "--json")
    assert (done.code, done.out) == (2, "")


def test_adopt_says_what_differed_and_how_much_is_held(db, outbox):
    db.execute("SELECT outbox.check_identity('production', '{}')")
    db.execute("INSERT INTO outbox.message (chat_id, payload) VALUES ('1', '{}'), ('2', '{}')")
    different = [{"what": "environment", "bot": None, "remembered": "production", "present": "staging"}]
    tried = outbox("adopt", "--hold", "--dry-run", "--json", OUTBOX_ENVIRONMENT="staging")
    assert json.loads(tried.out) == {
        "environment": "staging",
        "adopted": False,
        "differences": different,
        "waiting": 2,
    }
    done = outbox("adopt", "--hold", "--json", OUTBOX_ENVIRONMENT="staging", OUTBOX_TOKEN=TOKEN)
    assert json.loads(done.out) == {"environment": "staging", "adopted": True, "differences": different, "held": 2}
    assert done.code == 0


@pytest.fixture
def data_dir() -> Iterator[Path]:
    # Not tmp_path: pytest's folders have mode 700, and root's server runs as nobody.
    folder = Path(tempfile.mkdtemp(prefix="outbox-test-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_db_says_whether_the_server_runs_and_its_url(outbox, data_dir):
    variables = {"OUTBOX_DATABASE_URL": "", "OUTBOX_DATA_DIR": str(data_dir)}
    started = json.loads(outbox("db", "start", "--json", **variables).out)
    try:
        assert (started["running"], started["data_dir"]) == (True, str(data_dir))
        url = json.loads(outbox("db", "url", "--json", **variables).out)["url"]
        psycopg.connect(url).close()
    finally:
        stopped = json.loads(outbox("db", "stop", "--json", **variables).out)
    assert stopped == {"running": False, "data_dir": str(data_dir)}


def test_demo_prints_its_report(outbox, monkeypatch):
    async def deliver(url: str, log: object, show: demo.Show) -> demo.Report:
        show(7, 1.0, {"rejected": {"bot": 1}})
        return demo.Report(7, 0, 0, 1, 30, math.nan, 1.0, ["10007"], {2: (7, 0.5, 0.9)})

    monkeypatch.setattr(demo, "deliver_backlog", deliver)
    done = outbox("demo", "--json")
    report = json.loads(done.out)
    assert done.code == 1
    assert (report["sent"], report["messages"], report["utilisation"], report["out_of_order"]) == (
        7,
        1200,
        None,
        ["10007"],
    )
    assert report["waits"] == [{"priority": "normal", "messages": 7, "p50_s": 0.5, "p99_s": 0.9}]
    assert len(report["failures"]) == 3
    assert "1,200 messages wait" in done.err
