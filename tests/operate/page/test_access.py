"""The door: who may open the page, who wrote what, and who may read payloads."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import structlog
from yarl import URL

from outbox.operate.page.access import refuse_open_door
from outbox.operate.page.password import LONGEST_WAIT_S, Sessions, WrongPasswords
from outbox.operate.page.peers import is_believed
from outbox.settings import Address, Settings, UsageError

PASSWORD = "correct horse"
HEADER = "X-Forwarded-User"


def audited(db: Any) -> list[tuple[str, str]]:
    return [
        (who.partition(" (")[2].rstrip(")"), what) for who, what in db.execute("SELECT who, what FROM outbox.audit")
    ]


# --- beyond loopback ---


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "ops.example", "localhost.example"])
def test_it_does_not_listen_beyond_loopback_without_password_or_header(host: str) -> None:
    with pytest.raises(UsageError, match=r"OUTBOX_ADMIN_PASSWORD or OUTBOX_TRUSTED_HEADER") as refused:
        refuse_open_door(Settings(admin_addr=Address(host, 80)))
    assert "\n" not in str(refused.value)
    refuse_open_door(Settings(admin_addr=Address(host, 80), admin_password=PASSWORD))
    refuse_open_door(Settings(admin_addr=Address(host, 80), trusted_header=HEADER))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_it_listens_on_loopback_with_nothing_set(host: str) -> None:
    refuse_open_door(Settings(admin_addr=Address(host, 80)))


# --- password ---


async def test_the_login_leads_back_to_the_very_address(open_page: Any) -> None:
    page = await open_page(admin_password=PASSWORD)
    wanted = "/messages?tag=a%26b%3Dc%23d%2B1%25&tag=%D0%BF%D1%80+%E2%9C%93"
    asked = await page.get(URL(wanted, encoded=True), headers={"Accept": "text/html"})
    following = URL(asked.location, encoded=True).query["next"]
    assert (await page.log_in(PASSWORD, next=following)).location == wanted


async def test_a_form_in_an_unknown_encoding_is_a_line_and_no_failure(open_page: Any) -> None:
    page = await open_page(admin_password=PASSWORD)
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=nope", "Sec-Fetch-Site": "same-origin"}
    async with page.raw_post("/login", headers, b"name=ann&password=x") as answer:
        assert answer.status == 400


async def test_with_a_password_nothing_shows_before_the_login(db: Any, open_page: Any) -> None:
    page = await open_page(admin_password=PASSWORD)
    browser = {"Accept": "text/html,*/*"}
    answer = await page.get("/messages", headers=browser, bot="x", tag="a&b")
    assert (answer.status, answer.location) == (303, "/login?next=%2Fmessages%3Fbot%3Dx%26tag%3Da%2526b")
    assert (await page.get("/", headers=browser)).location == "/login"
    assert (await page.get("/", headers=browser | {"HX-Request": "true"})).status == 401
    assert (await page.get("/overview/rate")).status == 401
    assert (await page.post("/bots/default/pause")).status == 401
    assert audited(db) == []
    form = await page.get("/login")
    assert form.status == 200
    assert "<nav" not in form.text
    assert (await page.get("/healthz")).text == "ok"


async def test_a_link_from_elsewhere_asks_once_more_before_it_shows_the_login(open_page: Any) -> None:
    page = await open_page(admin_password=PASSWORD)
    browser = {
        "Accept": "text/html",
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
    }
    answer = await page.get("/bots", headers=browser)
    assert answer.status == 200
    assert 'http-equiv="refresh"' in answer.text
    assert "default" not in answer.text
    await page.log_in(PASSWORD)
    assert "default" in (await page.get("/bots", headers=browser)).text


async def test_the_password_opens_the_page_and_the_name_stands_in_the_audit(db: Any, open_page: Any) -> None:
    page = await open_page(admin_password=PASSWORD)
    answer = await page.log_in(PASSWORD, "ann", next="/bots?x=1")
    assert (answer.status, answer.location) == (303, "/bots?x=1")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Secure" not in cookie
    assert PASSWORD not in cookie
    assert (await page.post("/bots/default/pause")).status == 303
    assert audited(db) == [("ann, as typed", "pause")]
    overview = await page.get("/")
    assert "Log out" in overview.text
    assert PASSWORD not in overview.text
    assert (await page.post("/logout")).location == "/login"
    assert (await page.get("/")).status == 401


async def test_behind_https_the_cookie_is_for_https_only(open_page: Any) -> None:
    page = await open_page(admin_password=PASSWORD)
    answer = await page.log_in(PASSWORD, headers={"X-Forwarded-Proto": "https"})
    assert "Secure" in answer.headers["Set-Cookie"]


@pytest.mark.parametrize("place", ["//evil.example", "https://evil.example", "/\\evil.example", "", "\t//evil.example"])
async def test_the_login_leads_to_no_other_site(open_page: Any, place: str) -> None:
    page = await open_page(admin_password=PASSWORD)
    assert (await page.log_in(PASSWORD, next=place)).location == "/"


async def test_after_a_wrong_password_the_next_one_has_to_wait_even_if_it_is_right(open_page: Any) -> None:
    page = await open_page(admin_password=PASSWORD)
    first = await page.log_in("wrong horse")
    assert first.status == 403
    assert "Set-Cookie" not in first.headers
    assert "wrong horse" not in first.text
    tries = await asyncio.gather(*(page.log_in(PASSWORD) for _ in range(20)))
    assert {answer.status for answer in tries} == {429}
    assert tries[0].headers["Retry-After"] == "1"
    # Nobody is held up meanwhile.
    assert (await page.get("/healthz")).status == 200


async def test_behind_a_proxy_wrong_passwords_delay_only_their_own_address(open_page: Any) -> None:
    page = await open_page(admin_password=PASSWORD)

    def from_(*addresses: str) -> dict[str, str]:
        return {"X-Forwarded-For": ", ".join(addresses)}

    assert (await page.log_in(PASSWORD, headers=from_("198.51.100.2"))).status == 303
    assert (await page.log_in("wrong horse", headers=from_("203.0.113.9"))).status == 403
    assert (await page.log_in(PASSWORD, headers=from_("203.0.113.9"))).status == 429
    # What stands further left the browser may have written itself.
    assert (await page.log_in(PASSWORD, headers=from_("198.51.100.2", "203.0.113.9"))).status == 429
    assert (await page.log_in(PASSWORD, headers=from_("198.51.100.2", "203.0.113.9", "127.0.0.1"))).status == 429
    assert (await page.log_in(PASSWORD, headers=from_("198.51.100.2"))).status == 303
    assert (await page.log_in(PASSWORD, headers=from_("203.0.113.9", "198.51.100.2"))).status == 303


async def test_from_a_peer_that_is_no_proxy_nobody_else_can_be_made_to_wait(open_page: Any) -> None:
    page = await open_page(admin_password=PASSWORD, trusted_proxies="10.0.3.0/24")
    assert (await page.log_in("wrong horse", headers={"X-Forwarded-For": "203.0.113.9"})).status == 403
    assert (await page.log_in(PASSWORD, headers={"X-Forwarded-For": "198.51.100.2"})).status == 429


async def test_logins_and_wrong_passwords_are_logged_without_the_password(open_page: Any) -> None:
    page = await open_page(admin_password=PASSWORD)
    came = {"X-Forwarded-For": "203.0.113.9"}
    with structlog.testing.capture_logs() as logged:
        await page.log_in(PASSWORD, "ann", headers=came)
        await page.log_in("wrong horse", "correct horse typed as the name", headers=came)
    assert logged == [
        {"event": "logged in to the page", "log_level": "info", "operator": "ann", "address": "203.0.113.9"},
        {"event": "wrong password for the page", "log_level": "warning", "address": "203.0.113.9", "next_in_s": 1},
    ]


@pytest.mark.parametrize("cookie", ["", "x", "1.YW5u.9999999999.00", "1.YW5u.x.y", "....", "é.é"])
async def test_a_made_up_cookie_opens_nothing(open_page: Any, cookie: str) -> None:
    page = await open_page(admin_password=PASSWORD)
    answer = await page.get("/", headers={"Cookie": f"outbox_session={cookie}"})
    assert answer.status == 401


def test_a_session_ends_and_belongs_to_one_password() -> None:
    now = 1000.0
    sessions = Sessions(PASSWORD, lambda: now)
    cookie = sessions.issue("Ann Ü")
    assert sessions.read(cookie) == "Ann Ü"
    assert Sessions(PASSWORD, lambda: now).read(cookie) == "Ann Ü", "another process with the same password takes it"
    assert Sessions("another one", lambda: now).read(cookie) is None
    name = cookie.split(".")[1]
    assert sessions.read(cookie.replace(name, "Ym9i")) is None
    now += 13 * 3600
    assert sessions.read(cookie) is None


# --- how long wrong passwords wait ---


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.s = 5000.0

    def __call__(self) -> float:
        return self.s


def test_the_wait_doubles_per_address_up_to_a_minute() -> None:
    clock = Clock()
    wrong = WrongPasswords(clock)
    assert wrong.wait_s("192.0.2.1") == 0
    waits = []
    for _ in range(9):
        wrong.note_wrong("192.0.2.1")
        waits.append(wrong.wait_s("192.0.2.1"))
        clock.s += waits[-1]
        assert wrong.wait_s("192.0.2.1") == 0
    assert waits == [1, 2, 4, 8, 16, 32, LONGEST_WAIT_S, LONGEST_WAIT_S, LONGEST_WAIT_S]
    clock.s += 3600
    wrong.note_wrong("192.0.2.1")
    assert wrong.wait_s("192.0.2.1") == 1


def test_the_right_password_forgets_the_wrong_ones() -> None:
    wrong = WrongPasswords(Clock())
    for _ in range(3):
        wrong.note_wrong("192.0.2.1")
    wrong.note_right("192.0.2.1")
    assert wrong.wait_s("192.0.2.1") == 0


def test_many_addresses_are_not_many_tries_but_lock_out_nobody_who_was_in() -> None:
    clock = Clock()
    wrong = WrongPasswords(clock)
    wrong.note_right("192.0.2.77")
    for number in range(20_000):
        wrong.note_wrong(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert wrong.wait_s("198.51.100.1") == 5
    assert wrong.wait_s("192.0.2.77") == 0
    assert len(wrong._wrong) == 10_000, "what it remembers is bounded"
    clock.s += 5
    assert wrong.wait_s("198.51.100.1") == 0


def test_addresses_of_one_ipv6_network_are_one() -> None:
    wrong = WrongPasswords(Clock())
    wrong.note_wrong("2001:db8::1")
    assert wrong.wait_s("2001:db8::ffff:2") == 1
    assert wrong.wait_s("2001:db8:0:1::1") < 1


# --- a proxy that says who it is ---


async def test_the_proxys_header_names_the_operator(db: Any, open_page: Any) -> None:
    page = await open_page(trusted_header=HEADER)
    assert (await page.get("/")).status == 403
    assert (await page.get("/", headers={HEADER: " "})).status == 403
    answer = await page.post("/bots/default/pause", {HEADER: "bob@ops.example"})
    assert answer.status == 303
    assert audited(db) == [("bob@ops.example", "pause")]
    # The proxy answers for the name it is reached by.
    headers = {HEADER: "bob", "Host": "ops.example", "Sec-Fetch-Site": "none"}
    assert (await page.get("/", headers=headers)).status == 200


async def test_a_header_that_came_twice_is_believed_neither_time(open_page: Any) -> None:
    page = await open_page(trusted_header=HEADER)
    answer = await page.get("/", headers=[(HEADER, "admin"), (HEADER, "bob")])
    assert answer.status == 403
    assert "strip" in answer.text


async def test_without_the_setting_the_header_means_nothing(db: Any, page: Any) -> None:
    await page.post("/bots/default/pause", {HEADER: "mallory"})
    assert audited(db) == [("local", "pause")]


@pytest.mark.parametrize(
    ("peer", "proxies", "believed"),
    [
        ("127.0.0.1", None, True),
        ("::1", None, True),
        ("::ffff:127.0.0.1", None, True),
        ("10.1.2.3", None, False),
        ("fd00::1", None, False),
        ("8.8.8.8", None, False),
        (None, None, False),
        ("10.1.2.3", "10.1.0.0/16, fd00::/8", True),
        ("::ffff:10.1.2.3", "10.1.0.0/16", True),
        ("fd00::1", "10.1.0.0/16,fd00::/8", True),
        ("10.2.2.3", "10.1.0.0/16", False),
        ("127.0.0.1", "10.1.0.0/16", False),
    ],
)
def test_only_a_trusted_proxy_is_believed(peer: str | None, proxies: str | None, believed: bool) -> None:
    settings = Settings() if proxies is None else Settings(trusted_proxies=proxies)
    assert is_believed(peer, settings.trusted_proxies) is believed


async def test_the_header_from_elsewhere_opens_nothing_and_the_refusal_says_what_to_set(open_page: Any) -> None:
    page = await open_page(trusted_header=HEADER, trusted_proxies="10.0.3.0/24")
    answer = await page.get("/", headers={HEADER: "bob"})
    assert answer.status == 403
    assert "This came from 127.0.0.1" in answer.text
    assert "OUTBOX_TRUSTED_PROXIES" in answer.text
    assert HEADER not in answer.text


# --- who may read payloads ---

SECRET = "the-code-is-4711"


async def shows_payload(db: Any, page: Any, headers: dict[str, str] | None = None) -> bool:
    [(number,)] = db.execute(f'SELECT outbox.send(42, \'{{"text": "{SECRET}"}}\')')
    answer = await page.get(f"/messages/{number}", headers=headers)
    assert answer.status == 200
    assert SECRET not in answer.text
    shown = await page.post(f"/messages/{number}/payload", headers)
    assert shown.status in {200, 403}
    return SECRET in shown.text


async def test_payloads_are_hidden_unless_somebody_is_named(db: Any, open_page: Any) -> None:
    assert not await shows_payload(db, await open_page())
    assert await shows_payload(db, await open_page(payload_readers="*"))


async def test_a_name_of_the_proxy_opens_payloads(db: Any, open_page: Any) -> None:
    page = await open_page(trusted_header=HEADER, payload_readers="ann, bob")
    assert await shows_payload(db, page, {HEADER: "ann"})
    assert not await shows_payload(db, page, {HEADER: "eve"})


async def test_a_name_that_somebody_typed_opens_no_payload(db: Any, open_page: Any) -> None:
    page = await open_page(admin_password=PASSWORD, payload_readers="ann")
    await page.log_in(PASSWORD, "ann")
    assert not await shows_payload(db, page)


async def test_no_link_reads_what_a_message_holds(db: Any, open_page: Any) -> None:
    page = await open_page(payload_readers="*")
    [(number,)] = db.execute(f'SELECT outbox.send(42, \'{{"text": "{SECRET}"}}\')')
    for path in (f"/messages/{number}?payload=1", f"/messages/{number}/payload", "/messages?text=4711&payloads=1"):
        answer = await page.get(path)
        assert answer.status in {200, 303}
        assert SECRET not in answer.text
        assert f'href="/messages/{number}"' not in answer.text, "found by what it holds"
    assert audited(db) == []
