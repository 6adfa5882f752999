"""outbox doctor: says what is wrong and what to type, also where the database is sick or away."""

from __future__ import annotations

import json
import socket
import threading
import time

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from outbox.operate.doctor import server as server_checks
from outbox.operate.doctor.run import EXAMINED, examine
from outbox.settings import load_settings
from tests.conftest import Database
from tests.operate.commands.doctor import doctor

__all__ = ["doctor"]

TOKEN = "1000001:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0"


def make_well(db: Database) -> None:
    db.execute("SELECT outbox.register_worker('w', '{default}', 'host', 1, '1.0'), outbox.keep_house('house')")
    for duty in ("make_partitions", "drop_history", "measure", "repair"):
        db.execute("SELECT outbox.note_duty(%s, NULL)", [duty])


def insert(db: Database, bot: str = "default") -> None:
    db.execute("INSERT INTO outbox.message (bot, chat_id, payload) VALUES (%s, '1', '{\"text\": \"x\"}')", [bot])


def test_where_all_is_well_it_says_so_line_by_line_and_ends_with_0(db, outbox, tmp_path):
    make_well(db)
    done = outbox("doctor", OUTBOX_DATA_DIR=str(tmp_path), OUTBOX_TOKEN=TOKEN)
    assert done.code == 0, done.out
    lines = done.out.splitlines()
    assert {line.split()[0] for line in lines[:-1]} == {"ok"}
    assert lines[-1] == f"0 failed, 0 warnings, {len(lines) - 1} ok"
    assert "1000001" not in done.out


def test_json_is_one_document_of_all_checks(db, doctor):
    make_well(db)
    code, findings = doctor()
    assert code == 0
    own = {"connection", "server", "pooler", "release", "clock", "identity", "tokens", "spool"}
    assert set(findings) == own | set(EXAMINED)
    assert findings["server"].keys() == {"name", "verdict", "finding", "remedy"}


def test_warnings_alone_end_with_0_and_a_failure_with_1(db, doctor):
    make_well(db)
    db.execute("SELECT outbox.pause('default')")
    code, findings = doctor()
    assert (code, findings["bots"]["verdict"], findings["bots"]["remedy"][:21]) == (0, "warn", "outbox resume default")
    db.execute("UPDATE outbox.bucket SET unauthorised = true")
    code, findings = doctor()
    assert (code, findings["bots"]["verdict"]) == (1, "fail")


def test_the_remedy_stands_under_its_finding(db, outbox, tmp_path):
    make_well(db)
    db.execute("SELECT outbox.pause('default')")
    lines = outbox("doctor", OUTBOX_DATA_DIR=str(tmp_path)).out.splitlines()
    [at] = [number for number, line in enumerate(lines) if line.startswith("warn")]
    assert lines[at + 1].strip().startswith("outbox resume default")


def test_the_remedy_for_old_dead_letters_lists_them(db, doctor, outbox):
    db.execute(
        "INSERT INTO outbox.dead_letter (id, bot, chat_id, method, payload, priority, status, correlation_id,"
        " on_uncertain, created_at, scheduled_for, died_at, attempts, calls) SELECT 1001, 'default', '1',"
        " 'sendMessage', '{}', 2, 'dead', 'c', 'retry', now(), now(), outbox.clock() - interval '83 days', 1, 1"
    )
    finding = doctor()[1]["dead letters"]
    assert finding["finding"].startswith("retention takes 1 dead letter within 7 days")
    command = finding["remedy"].partition(": outbox ")[2].partition(",")[0]
    listed = outbox(*command.split(), "--each", "--json")
    assert [letter["id"] for letter in json.loads(listed.out)["dead_letters"]] == [1001]


def test_counts_of_one_are_in_the_singular(db, outbox, tmp_path):
    make_well(db)
    db.execute("SELECT outbox.pause('default')")
    db.execute(
        "INSERT INTO outbox.chat (chat_id, bot, suppressed_until, suppressed_at)"
        " SELECT '1', 'default', outbox.clock() + interval '1 day', outbox.clock()"
    )
    told = outbox("doctor", OUTBOX_DATA_DIR=str(tmp_path)).out
    assert "1 chat suppressed, 1 of them" in told
    assert ", 1 warning, " in told


def test_a_wrong_option_is_wrong_usage(outbox):
    assert outbox("doctor", "--timeout-s", "0").code == 2


# --- no database, or a wrong one --------------------------------------------------------------------------------------


def test_without_a_database_url_the_rest_is_still_looked_at(doctor):
    code, findings = doctor(OUTBOX_DATABASE_URL="", OUTBOX_TOKEN=TOKEN)
    assert code == 1
    assert findings["connection"]["finding"] == "OUTBOX_DATABASE_URL is not set, and doctor needs your database"
    assert findings["connection"]["remedy"].startswith("Set OUTBOX_DATABASE_URL=")
    assert findings["tokens"]["finding"] == "set here for default"
    assert findings["spool"]["verdict"] == "ok"


def test_an_embedded_server_that_stands_still_is_to_be_started(doctor, tmp_path):
    (tmp_path / "postgres" / "data").mkdir(parents=True)
    finding = doctor(OUTBOX_DATABASE_URL="")[1]["connection"]
    assert finding["finding"].endswith(f"the embedded PostgreSQL in {tmp_path} does not run")
    assert finding["remedy"] == "Start it: outbox up, or outbox db start"


def test_a_server_that_is_not_there_is_a_finding_without_its_password(outbox):
    done = outbox("doctor", OUTBOX_DATABASE_URL="postgresql://u:hunter2@127.0.0.1:1/app")
    assert done.code == 1
    assert "fail  connection        the database cannot be reached" in done.out
    assert "hunter2" not in done.out + done.err


def test_a_database_without_outbox_is_told_to_migrate(empty_db, doctor):
    code, findings = doctor(OUTBOX_DATABASE_URL=empty_db.url)
    assert code == 1
    assert findings["release"]["remedy"] == "outbox migrate"
    assert "lanes" not in findings


def test_functions_or_tables_of_another_release_are_a_failure(db, doctor):
    db.execute("UPDATE outbox.release SET digest = 'other'")
    assert doctor()[1]["release"]["finding"] == "functions are another version's"
    db.execute("UPDATE outbox.alembic_version SET version_num = '0007'")
    code, findings = doctor()
    assert code == 1
    assert findings["release"]["finding"].startswith("tables are at 0007, and this version's at 00")
    assert findings["release"]["remedy"].startswith("outbox migrate")
    db.execute("UPDATE outbox.alembic_version SET version_num = '0999'")
    assert doctor()[1]["release"]["remedy"] == "Install the outbox release that made them, or a newer one"


def test_a_server_too_old_is_a_failure(db, doctor, monkeypatch):
    monkeypatch.setattr(server_checks, "OLDEST_SERVER", 99)
    assert doctor()[1]["server"]["verdict"] == "fail"


def test_a_database_that_only_reads_is_a_failure(db, doctor):
    name = conninfo_to_dict(db.url)["dbname"]
    db.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    assert doctor()[1]["server"]["finding"].endswith("only reads")


def test_a_slow_way_to_the_server_is_a_warning(db, doctor, monkeypatch):
    monkeypatch.setattr(server_checks, "SLOW_S", 0.0)
    assert doctor()[1]["connection"]["verdict"] == "warn"


def test_clocks_that_differ_are_a_warning(db, doctor, clock):
    assert doctor()[1]["clock"]["verdict"] == "ok"
    clock.advance(-60)
    finding = doctor()[1]["clock"]
    assert (finding["verdict"], finding["finding"][:36]) == ("warn", "the database's clock is 60 s behind ")


def test_a_login_without_rights_is_told_so_check_by_check(db, login, doctor):
    with login() as connection:
        user = connection.info.user
    db.execute(f'GRANT USAGE ON SCHEMA outbox TO "{user}"')
    try:
        _, findings = doctor(OUTBOX_DATABASE_URL=make_conninfo(db.url, user=user))
    finally:
        db.execute(f'REVOKE USAGE ON SCHEMA outbox FROM "{user}"')
    assert findings["server"]["verdict"] == "ok"
    assert findings["lanes"]["finding"].startswith("not checked: permission denied")
    assert "outbox_reader" in findings["lanes"]["remedy"]


def test_a_reader_gets_an_answer_to_every_check(db, login, doctor):
    with login("outbox_reader") as connection:
        user = connection.info.user
    _, findings = doctor(OUTBOX_DATABASE_URL=make_conninfo(db.url, user=user))
    assert [finding for finding in findings.values() if "not checked" in finding["finding"]] == []


# --- whose it is ------------------------------------------------------------------------------------------------------


def test_an_environment_that_is_not_the_databases_is_a_failure(db, doctor):
    db.execute("SELECT outbox.check_identity('production', '{}')")
    code, findings = doctor(OUTBOX_ENVIRONMENT="staging")
    assert code == 1
    assert findings["identity"]["finding"].startswith("environment was production and is staging")
    assert doctor(OUTBOX_ENVIRONMENT="production")[1]["identity"]["verdict"] == "ok"


def test_a_token_of_another_bot_is_a_failure_that_shows_no_token(db, outbox):
    db.execute("SELECT outbox.check_identity('default', '{\"default\": 7}')")
    done = outbox("doctor", OUTBOX_TOKEN=TOKEN)
    assert "the id of bot 'default' was 7 and is 1000001" in done.out
    assert TOKEN.partition(":")[2] not in done.out


def test_a_bot_with_messages_needs_a_token_here_or_a_worker(db, doctor):
    insert(db)
    code, findings = doctor()
    assert (code, findings["tokens"]["verdict"]) == (1, "fail")
    assert findings["tokens"]["remedy"] == "Set OUTBOX_TOKEN, or run: outbox pause default"
    assert doctor(OUTBOX_TOKEN=TOKEN)[1]["tokens"]["verdict"] == "ok"
    make_well(db)
    assert doctor()[1]["tokens"]["verdict"] == "ok"


def test_a_bot_whose_name_no_shell_takes_is_told_of_the_tokens_file(db, doctor, tmp_path):
    db.execute("SELECT outbox.set_bot('my-bot')")
    insert(db, "my-bot")
    remedy = doctor()[1]["tokens"]["remedy"]
    assert remedy == 'Set a line my-bot = "123:ABC" in OUTBOX_TOKENS_FILE, or run: outbox pause my-bot'
    file = tmp_path / "tokens.toml"
    file.write_text(f'my-bot = "{TOKEN}"\n')
    assert doctor(OUTBOX_TOKENS_FILE=str(file))[1]["tokens"]["verdict"] == "ok"


def test_a_token_for_a_bot_that_does_not_exist_is_a_warning(db, doctor):
    finding = doctor(OUTBOX_TOKEN_ALERTS=TOKEN)[1]["tokens"]
    assert (finding["verdict"], finding["remedy"]) == ("warn", "outbox bot add alerts, or unset the token")


def test_a_broken_token_is_a_failure_that_does_not_show_it(db, doctor):
    finding = doctor(OUTBOX_TOKEN="hunter2")[1]["tokens"]
    assert (finding["verdict"], finding["finding"]) == ("fail", "OUTBOX_TOKEN is not a bot token")


def test_results_left_in_the_spool_are_a_warning(db, doctor, tmp_path):
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "key-1-ab.jsonl").touch()
    assert doctor()[1]["spool"]["verdict"] == "ok"
    (tmp_path / "spool" / "key-1-ab.jsonl").write_text("{}\n")
    finding = doctor()[1]["spool"]
    assert (finding["verdict"], finding["finding"][:8]) == ("warn", "1 file i")


# --- a sick database --------------------------------------------------------------------------------------------------


def test_a_check_that_waits_for_a_lock_is_a_finding_and_the_rest_go_on(db, doctor):
    make_well(db)
    with db.connect() as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE outbox.housekeeping IN ACCESS EXCLUSIVE MODE")
        code, findings = doctor()
    assert code == 1
    assert findings["housekeeping"]["finding"] == "not checked: canceling statement due to lock timeout"
    assert "pg_blocking_pids" in findings["housekeeping"]["remedy"]
    assert findings["bots"]["verdict"] == "ok"


def test_a_check_that_takes_too_long_is_a_finding_and_the_rest_go_on(db, doctor):
    db.execute(
        "CREATE OR REPLACE FUNCTION outbox.examine_lanes() RETURNS TABLE (verdict text, finding text, remedy text)"
        " LANGUAGE sql AS $$ SELECT 'ok', 'x', pg_sleep(60)::text $$"
    )
    code, findings = doctor("--timeout-s", "0.5")
    assert code == 1
    assert findings["lanes"]["finding"] == "not checked: it took longer than 0.5 s"
    assert findings["wakeups"]["verdict"] == "ok"


def test_a_server_that_hangs_is_a_finding_within_seconds(db, doctor):
    with Hanging(db.url, at=b"partitions") as hanging:
        began_s = time.monotonic()
        code, findings = doctor("--timeout-s", "0.5", OUTBOX_DATABASE_URL=hanging.url)
        took_s = time.monotonic() - began_s
    assert code == 1
    assert findings["partitions"]["finding"] == "not checked: no answer within 2.5 s"
    assert findings["connection"]["verdict"] == "fail"
    assert "not checked: housekeeping, batches, workers, bots" in findings["connection"]["finding"]
    assert findings["spool"]["verdict"] == "ok"
    assert took_s < 15


def test_what_has_not_begun_in_time_is_said_to_be_unchecked(db, monkeypatch):
    monkeypatch.setenv("OUTBOX_DATABASE_URL", db.url)
    [finding] = [one for one in examine(load_settings(), total_s=0) if one.name == "time"]
    assert finding.verdict == "fail"
    assert finding.finding.startswith("all took too long; not checked: clock, identity")


def test_it_changes_nothing(db, doctor):
    insert(db)
    db.execute("DELETE FROM outbox.wakeup")
    tables = [row[0] for row in db.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'outbox'")]
    before = {table: db.execute(f"SELECT x::text FROM outbox.{table} x ORDER BY 1") for table in tables}
    doctor(OUTBOX_TOKEN=TOKEN)
    assert {table: db.execute(f"SELECT x::text FROM outbox.{table} x ORDER BY 1") for table in tables} == before


class Hanging:
    """A way to the server that passes nothing on any more once a question has held these bytes."""

    def __init__(self, url: str, at: bytes) -> None:
        parts = conninfo_to_dict(url)
        self._server = (str(parts["host"]), int(parts["port"] or 5432))
        self._at = at
        self._hangs = threading.Event()
        self._open: list[socket.socket] = []
        self._door = socket.create_server(("127.0.0.1", 0))
        self.url = make_conninfo(url, host="127.0.0.1", port=str(self._door.getsockname()[1]))

    def __enter__(self) -> Hanging:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._door.close()
        for one in self._open:
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._door.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            self._open += [client, server]
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if self._at in data:
                    self._hangs.set()
                if not self._hangs.is_set():
                    target.sendall(data)
            if not self._hangs.is_set():
                target.close()
        except OSError:
            pass
