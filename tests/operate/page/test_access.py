"""The door: who may open the page, who wrote what, and what other sites cannot make a browser do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from outbox.operate.page.access import _is_near, refuse_open_door
from outbox.operate.page.password import LONGEST_WAIT_S, Sessions, WrongPasswords
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


# --- loopback alone ---


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8480", "127.0.0.1.evil.example", "localhost.evil.example"]
)
async def test_a_name_that_was_rebound_to_loopback_opens_nothing(page: Any, host: str) -> None:
    answer = await page.get("/", headers={"Host": host})
    assert answer.status == 403
    assert "OUTBOX_ADMIN_PASSWORD" in answer.text
    assert "<nav" not in answer.text


@pytest.mark.parametrize("host", ["localhost:9999", "127.0.0.1:1", "[::1]:8480", "outbox.localhost"])
async def test_loopback_by_any_of_its_names_opens_the_page(page: Any, host: str) -> None:
    assert (await page.get("/", headers={"Host": host})).status == 200


# --- writes that another site began ---


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1"},
        {"Sec-Fetch-Site": "", "Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "", "Origin": "null"},
        {"Sec-Fetch-Site": ""},
    ],
)
async def test_a_cross_site_write_changes_nothing(db: Any, page: Any, headers: dict[str, str]) -> None:
    answer = await page.post("/bots/default/pause", headers)
    assert answer.status == 403
    assert "Refused" in answer.text
    assert db.execute("SELECT stopped FROM outbox.limits") == [(False,)]
    assert audited(db) == []


async def test_a_write_of_an_old_browser_is_known_by_its_origin(db: Any, page: Any) -> None:
    own = page.url
    async with page.raw_post("/bots/default/pause", {"Origin": own}) as answer:
        assert answer.status == 303
    async with page.raw_post(
        "/bots/default/resume", {"Origin": "https://ops.example", "X-Forwarded-Host": "ops.example"}
    ) as answer:
        assert answer.status == 303
    assert [what for _, what in audited(db)] == ["pause", "resume"]


# --- password ---


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
    browser = {"Accept": "text/html", "Sec-Fetch-Site": "cross-site"}
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
    assert audited(db) == [("ann", "pause")]
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
    assert (await page.get("/", headers={HEADER: "bob", "Host": "ops.example"})).status == 200


async def test_a_header_that_came_twice_is_believed_neither_time(open_page: Any) -> None:
    page = await open_page(trusted_header=HEADER)
    answer = await page.get("/", headers=[(HEADER, "admin"), (HEADER, "bob")])
    assert answer.status == 403
    assert "strip" in answer.text


async def test_without_the_setting_the_header_means_nothing(db: Any, page: Any) -> None:
    await page.post("/bots/default/pause", {HEADER: "mallory"})
    assert audited(db) == [("local", "pause")]


@pytest.mark.parametrize(
    ("peer", "near"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("10.1.2.3", True),
        ("::ffff:172.17.0.1", True),
        ("fd00::1", True),
        ("8.8.8.8", False),
        ("2606:4700::1111", False),
        ("::ffff:8.8.8.8", False),
        (None, False),
    ],
)
def test_only_a_proxy_nearby_is_believed(peer: str | None, near: bool) -> None:
    assert _is_near(peer) is near


# --- who may read payloads ---

SECRET = "the-code-is-4711"


async def shows_payload(db: Any, page: Any, headers: dict[str, str] | None = None) -> bool:
    [(number,)] = db.execute(f'SELECT outbox.send(42, \'{{"text": "{SECRET}"}}\')')
    answer = await page.get(f"/messages/{number}", headers=headers)
    assert answer.status == 200
    shown = await page.get(f"/messages/{number}", headers=headers, payload="1")
    return SECRET in answer.text + shown.text


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
