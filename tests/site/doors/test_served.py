"""The doors of a real server, over real HTTP."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.site.served import Served

pytestmark = [pytest.mark.slow, pytest.mark.one_database]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server behind a proxy on loopback that says who somebody is."""
    folder: Path = tmp_path_factory.mktemp("house")
    served = Served(folder, GS_REMOTE_USER_HEADER="X-Remote-User", GS_TRUSTED_PROXIES="127.0.0.1")
    try:
        yield served.wait_until_welcome()
    finally:
        served.clean_up()


def login(house: Served, password: str, address: str) -> requests.Response:
    session = requests.Session()
    session.headers["X-Forwarded-For"] = address
    url = f"http://127.0.0.1:{house.port}/admin/login/"
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', session.get(url, timeout=30).text)[1]
    form = {"csrfmiddlewaretoken": token, "username": "admin", "password": password, "next": "/blocklists/"}
    return session.post(url, form, timeout=30)


def test_brute_force_over_http_is_locked_for_that_address_alone(house: Served) -> None:
    password = re.search(r"Password\s+(\S+)", house.output)[1]
    assert [login(house, f"guess {number}", "203.0.113.5").status_code for number in range(5)] == [200] * 4 + [429]
    locked = login(house, password, "203.0.113.5")
    assert locked.status_code == 429
    assert "Try again in 15 minutes" in locked.text
    entered = login(house, password, "198.51.100.7")
    assert (entered.status_code, entered.url) == (200, f"http://127.0.0.1:{house.port}/blocklists/")


def test_the_proxys_header_is_believed_in_its_own_spelling_only(house: Served) -> None:
    url = f"http://127.0.0.1:{house.port}/api/ips"
    assert requests.get(url, headers={"X-Remote-User": "admin"}, timeout=30).status_code == 200
    # A proxy that overwrites the one lets the other through; servers that take both for one are fooled.
    assert requests.get(url, headers={"X_Remote_User": "admin"}, timeout=30).status_code in (401, 403)
    assert requests.get(url, timeout=30).status_code in (401, 403)


def test_every_way_to_answer_says_nosniff_and_pages_say_more(house: Served) -> None:
    for path in ("/admin/login/", "/static/dashboard/frame.js", "/api/docs", "/frame-colours.css"):
        answer = requests.get(f"http://127.0.0.1:{house.port}{path}", timeout=30)
        assert answer.headers["X-Content-Type-Options"] == "nosniff", path
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"], path
    lane = requests.post(f"http://127.0.0.1:{house.port}/api/webhooks/stalwart/delivery-failure", "{}", timeout=30)
    assert lane.headers["X-Content-Type-Options"] == "nosniff"
