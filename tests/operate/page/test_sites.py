"""What other sites cannot make an operator's browser do, and the names under which loopback answers."""

from __future__ import annotations

from typing import Any

import pytest

HEADER = "X-Forwarded-User"


def audited(db: Any) -> list[str]:
    return [what for [what] in db.execute("SELECT what FROM outbox.audit ORDER BY id")]


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


# --- a name from a proxy ---


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8480", "127.0.0.1.evil.example", "outbox", "["])
async def test_a_script_of_a_rebound_name_cannot_pose_as_the_proxy(db: Any, open_page: Any, host: str) -> None:
    page = await open_page(trusted_header=HEADER, payload_readers="bob")
    # All that a script can write; what begins with Sec- it cannot, and plain http to a name brings none.
    forged = {HEADER: "bob", "Host": host, "Origin": f"http://{host}", "X-Forwarded-Host": host}
    forged |= {"X-Forwarded-Proto": "https"}
    answer = await page.get("/", headers=forged)
    assert answer.status == 403
    assert "let the proxy send Host: 127.0.0.1" in answer.text
    assert "<nav" not in answer.text
    async with page.raw_post("/bots/default/pause", forged) as posted:
        assert posted.status == 403
    assert audited(db) == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "ops.example", "Sec-Fetch-Site": "none"},
        {"Host": "127.0.0.1:8480"},
        {"Host": "10.0.3.7:8480"},
        {"Host": "[fd00::1]"},
        {"Host": "localhost"},
    ],
    ids=str,
)
async def test_what_came_by_https_or_under_an_address_may_be_the_proxys(
    open_page: Any, headers: dict[str, str]
) -> None:
    page = await open_page(trusted_header=HEADER)
    assert (await page.get("/", headers={HEADER: "bob"} | headers)).status == 200


async def test_the_proxy_may_ask_under_any_name_whether_the_page_is_alive(open_page: Any) -> None:
    page = await open_page(trusted_header=HEADER)
    assert (await page.get("/healthz", headers={"Host": "ops.example"})).text == "ok"


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
    assert audited(db) == ["pause", "resume"]


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize(
    ("mode", "destination"),
    [("no-cors", "image"), ("no-cors", "script"), ("cors", "empty"), ("navigate", "iframe"), ("navigate", "embed")],
)
async def test_a_read_that_another_site_began_is_refused(page: Any, site: str, mode: str, destination: str) -> None:
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": destination}
    for path in ("/", "/messages?text=x", "/overview/rate", "/static/outbox.css", "/login"):
        answer = await page.get(path, headers=headers)
        assert answer.status == 403, path
        assert "<nav" not in answer.text


@pytest.mark.parametrize("site", ["cross-site", "same-site", "same-origin", "none"])
async def test_a_link_of_another_site_opens_a_page(page: Any, site: str) -> None:
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert (await page.get("/messages?tag=x", headers=headers)).status == 200


@pytest.mark.parametrize("origin", ["http://[::1", "null", "http://[", "//"])
async def test_an_origin_that_is_no_address_is_refused(page: Any, origin: str) -> None:
    async with page.raw_post("/bots/default/pause", {"Origin": origin}) as answer:
        assert answer.status == 403
