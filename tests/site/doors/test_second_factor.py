"""The second factor: who has one gets nowhere with the password alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from django_otp.plugins.otp_static.models import StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from reputation_site.doors import second_factor as factor
from telemetry.models import AccessRecord
from telemetry.tokens import issue_api_token
from tests.site.doors.conftest import PASSWORD, code_of, logged

pytestmark = pytest.mark.django_db
Try = Callable[..., Any]
PAGE, CODE = "/second-factor/", "/second-factor/code"


@pytest.fixture
def device(vera: User) -> TOTPDevice:
    """Vera's authenticator app, set up long ago."""
    return TOTPDevice.objects.create(user=vera, name="Authenticator app", key=factor.new_key())


@pytest.fixture
def half_in(client: Client, try_login: Try, vera: User, device: TOTPDevice) -> Client:
    """A client in which Vera has typed her password."""
    assert try_login("vera", PASSWORD, client=client).status_code == 302
    return client


def set_up(client: Client) -> tuple[Any, TOTPDevice]:
    """Set a second factor up as a person does: take the secret of the page, type the app's code."""
    page = client.get(PAGE)
    secret = re.search(r'id="gs-secret">([A-Z2-7 ]+)<', page.content.decode())[1]
    key = client.session["second_factor_key"]
    assert factor.key_in_words(key) == secret
    answer = client.post(f"{PAGE}confirm", {"code": code_of(TOTPDevice(key=key))})
    return answer, TOTPDevice.objects.get()


def recovery_codes(answer: Any) -> list[str]:
    return re.findall(r"^(?:<pre[^>]*>)?\s*([a-z2-9]{4}-[a-z2-9]{4}-[a-z2-9]{4})$", listed(answer), re.M)


def listed(answer: Any) -> str:
    return re.sub(r"<pre[^>]*>", "\n", answer.content.decode())


def test_a_person_sets_it_up_and_is_asked_for_it_from_then_on(client: Client, try_login: Try, vera: User) -> None:
    try_login("vera", PASSWORD, client=client)
    elsewhere = Client()
    try_login("vera", PASSWORD, client=elsewhere)
    page = client.get(PAGE).content.decode()
    assert 'src="data:image/svg+xml' in page
    answer, device = set_up(client)
    assert len(recovery_codes(answer)) == 10
    assert client.get("/").status_code == 200  # this session has just shown a code
    # A session that was opened by the password alone, before, is worth nothing now.
    assert elsewhere.get("/").status_code == 302
    assert try_login("vera", PASSWORD, client=elsewhere).status_code == 302
    asked = elsewhere.get("/", follow=True)
    assert asked.redirect_chain[-1][0].startswith(CODE)
    # The code that was typed for the set-up is used up.
    assert elsewhere.post(CODE, {"code": code_of(device)}).status_code == 400
    device.refresh_from_db()
    device.throttle_reset()
    entered = elsewhere.post(CODE, {"code": code_of(device, steps=1), "next": "/blocklists/"})
    assert (entered.status_code, entered.url) == (302, "/blocklists/")
    assert elsewhere.get("/").status_code == 200


def test_a_wrong_code_sets_nothing_up(client: Client, vera: User) -> None:
    client.force_login(vera)
    client.get(PAGE)
    wrong = client.post(f"{PAGE}confirm", {"code": "abcdef"})
    assert wrong.status_code == 400
    assert "not right" in wrong.content.decode()
    assert not TOTPDevice.objects.exists()


@pytest.mark.parametrize(
    "path", ["/", "/overview/fleet", "/admin/", "/admin/auth/user/", "/admin/password_change/", PAGE, "/api/docs"]
)
def test_the_password_alone_opens_no_page(half_in: Client, path: str) -> None:
    answer = half_in.get(path)
    if path == "/api/docs":  # open to everybody; what it describes is not
        assert "vera" not in answer.content.decode()
        return
    assert answer.status_code == 302
    assert answer.url.startswith("/admin/login/")


def test_the_password_alone_may_nothing_in_the_api(half_in: Client, device: TOTPDevice) -> None:
    assert half_in.get("/api/ips").status_code in (401, 403)
    # Neither beside a header that no token is in.
    assert half_in.get("/api/ips", headers={"Authorization": "Basic eDp5"}).status_code in (401, 403)
    half_in.post(CODE, {"code": code_of(device)})
    assert half_in.get("/api/ips").status_code == 200


def test_tokens_need_no_second_factor(vera: User, device: TOTPDevice, settings: Any) -> None:
    settings.REQUIRE_SECOND_FACTOR = True
    token = issue_api_token(vera)
    assert Client().get("/api/ips", headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_a_code_opens_once(half_in: Client, try_login: Try, device: TOTPDevice) -> None:
    code = code_of(device)
    spaced = f" {code[:3]} {code[3:]} "
    assert half_in.post(CODE, {"code": spaced}).status_code == 302
    another = Client()
    try_login("vera", PASSWORD, client=another)
    assert another.post(CODE, {"code": code}).status_code == 400
    assert another.get("/").status_code == 302


def test_guessing_codes_is_slowed_down(half_in: Client, device: TOTPDevice) -> None:
    wrong = f"{(int(code_of(device)) + 77_777) % 1_000_000:06d}"
    for _ in range(4):
        half_in.post(CODE, {"code": wrong})
        TOTPDevice.objects.update(throttling_failure_timestamp=timezone.now() - timedelta(hours=1))
    half_in.post(CODE, {"code": wrong})
    right = half_in.post(CODE, {"code": code_of(device)})
    assert right.status_code == 400
    # 16 seconds after the fifth, less what this machine took since.
    assert 8 < int(re.search(r"wait (\d+) seconds", right.content.decode())[1]) <= 16
    assert half_in.get("/").status_code == 302
    assert [kind for kind, *_ in logged()].count("second_factor_failed") == 5
    TOTPDevice.objects.update(throttling_failure_timestamp=timezone.now() - timedelta(seconds=17))
    assert half_in.post(CODE, {"code": code_of(device)}).status_code == 302


def test_a_recovery_code_opens_once_and_is_stored_as_a_digest(half_in: Client, try_login: Try, vera: User) -> None:
    codes = factor.renew_recovery_codes(vera)
    stored = " ".join(StaticToken.objects.values_list("token", flat=True))
    assert not any(code in stored or code.replace("-", "") in stored for code in codes)
    assert half_in.post(CODE, {"code": codes[3].upper().replace("-", " ")}).status_code == 302
    assert half_in.get("/").status_code == 200
    another = Client()
    try_login("vera", PASSWORD, client=another)
    assert another.post(CODE, {"code": codes[3]}).status_code == 400
    assert factor.recovery_codes_left(vera) == 9


def test_new_recovery_codes_end_the_old_ones(half_in: Client, vera: User, device: TOTPDevice) -> None:
    old = factor.renew_recovery_codes(vera)
    half_in.post(CODE, {"code": code_of(device)})
    answer = half_in.post(f"{PAGE}recovery-codes", {"code": old[0]})
    new = recovery_codes(answer)
    assert len(new) == 10
    assert factor.check(vera, old[1], now=timezone.now()).device is None
    TOTPDevice.objects.update(throttling_failure_count=0)
    assert factor.check(vera, new[0], now=timezone.now()).device is not None


def test_removing_it_needs_a_code(half_in: Client, vera: User, device: TOTPDevice) -> None:
    codes = factor.renew_recovery_codes(vera)
    half_in.post(CODE, {"code": code_of(device)})
    assert half_in.post(f"{PAGE}remove", {"code": "000000"}).status_code == 400
    assert TOTPDevice.objects.exists()
    TOTPDevice.objects.update(throttling_failure_count=0)
    assert half_in.post(f"{PAGE}remove", {"code": codes[0]}).status_code == 302
    assert not TOTPDevice.objects.exists()
    assert half_in.get("/").status_code == 200
    kinds = [kind for kind, *_ in logged()]
    assert kinds[-1] == "second_factor_removed"


def test_where_it_is_required_nothing_opens_before_it_is_set_up(
    client: Client, try_login: Try, vera: User, settings: Any
) -> None:
    settings.REQUIRE_SECOND_FACTOR = True
    try_login("vera", PASSWORD, client=client)
    shown = client.get("/", follow=True)
    assert shown.redirect_chain[-1][0].startswith(PAGE)
    assert "asks everybody for one" in shown.content.decode()
    for path in ("/blocklists/", "/admin/"):
        assert client.get(path).status_code == 302
    assert client.get("/api/ips").status_code in (401, 403)
    set_up(client)
    assert client.get("/blocklists/").status_code == 200
    assert client.get("/api/ips").status_code == 200


def test_a_superuser_and_a_command_help_who_lost_the_phone(olga: User, vera: User, device: TOTPDevice) -> None:
    client = Client()
    client.force_login(olga)
    listed = client.get("/admin/otp_totp/totpdevice/")
    assert "vera" in listed.content.decode()
    assert device.key not in client.get(f"/admin/otp_totp/totpdevice/{device.pk}/change/").content.decode()
    client.post("/admin/otp_totp/totpdevice/", {"action": "remove_selected", "_selected_action": [device.pk]})
    assert not TOTPDevice.objects.exists()
    assert AccessRecord.objects.latest("id").detail == "by olga"
    TOTPDevice.objects.create(user=vera, name="Authenticator app", key=factor.new_key())
    call_command("reset_second_factor", "vera", stdout=StringIO())
    assert not TOTPDevice.objects.exists()
    with pytest.raises(CommandError, match="has no second factor"):
        call_command("reset_second_factor", "vera")
    with pytest.raises(CommandError, match="no user"):
        call_command("reset_second_factor", "nobody")


def test_only_superusers_see_who_has_one(client: Client, vera: User, device: TOTPDevice) -> None:
    TOTPDevice.objects.all().delete()
    client.force_login(vera)
    assert client.get("/admin/otp_totp/totpdevice/").status_code == 403
    assert client.get("/admin/axes/accessattempt/").status_code == 403


def test_the_code_page_leads_to_no_other_site(half_in: Client, device: TOTPDevice) -> None:
    answer = half_in.post(f"{CODE}?next=https://evil.example/", {"code": code_of(device), "next": "//evil.example/"})
    assert answer.url == "/"


def test_the_session_gets_a_new_name_when_it_is_worth_more(half_in: Client, device: TOTPDevice) -> None:
    before = half_in.cookies["sessionid"].value
    half_in.post(CODE, {"code": code_of(device)})
    assert half_in.cookies["sessionid"].value != before
    replayed = Client()
    replayed.cookies["sessionid"] = before
    assert replayed.get("/").status_code == 302
