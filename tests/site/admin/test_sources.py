"""Sources and tokens in the admin: a token is shown once, a key never."""

from __future__ import annotations

import json
import re

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from telemetry.models import (
    ApiToken,
    Source,
    SourceToken,
)
from telemetry.tokens import find_source_token, issue_api_token, issue_token
from tests.site.admin.conftest import (
    button,
    change,
    changelist,
    text,
)

pytestmark = pytest.mark.django_db


TOKEN = re.compile(r"gs_[a-z0-9]{12}_[A-Za-z0-9_-]{43}")


def test_a_token_is_shown_once_and_works(as_root: Client, source: Source) -> None:
    url = button("telemetry_source_make_token", source.pk)
    assert TOKEN.search(text(as_root.get(url))) is None
    assert not SourceToken.objects.exists(), "looking makes no token"
    shown = as_root.post(url, {"label": "on mta-1"})
    [clear] = set(TOKEN.findall(text(shown)))
    assert "no-store" in shown.headers["Cache-Control"]
    found = find_source_token(clear, now=timezone.now())
    assert found is not None
    assert found.source == source
    assert found.label == "on mta-1"
    for page in (url, change(source), changelist(Source), change(found), changelist(SourceToken)):
        assert clear not in text(as_root.get(page))
    assert clear.rpartition("_")[2] not in json.dumps(list(SourceToken.objects.values()), default=str)


@pytest.mark.parametrize("kind", ["documented", "generic"])
def test_the_curl_line_shown_with_a_token_is_taken(kind: str, as_root: Client, source: Source) -> None:
    Source.objects.filter(pk=source.pk).update(kind=kind)
    shown = as_root.post(button("telemetry_source_make_token", source.pk), {"label": ""})
    curl = shown.context["curl"]
    url = re.search(r"http://testserver(\S+)", curl)
    body = re.search(r"-d '(.*)'", curl)
    token = TOKEN.search(curl)
    assert url is not None
    assert body is not None
    assert token is not None
    answer = Client().post(
        url[1], body[1], content_type="application/json", headers={"Authorization": f"Bearer {token[0]}"}
    )
    assert (answer.status_code, answer.json()["processed"]) == (200, 1)


def test_rotation_shows_the_successor_and_the_old_token_goes_on_for_a_while(
    as_root: Client, source: Source, token: str
) -> None:
    old = SourceToken.objects.get()
    url = button("telemetry_sourcetoken_rotate", old.pk)
    assert TOKEN.search(text(as_root.get(url))) is None
    assert SourceToken.objects.count() == 1, "asking makes no token"
    [clear] = set(TOKEN.findall(text(as_root.post(url, {"confirmed": "1"}))))
    now = timezone.now()
    assert find_source_token(clear, now=now) is not None
    assert find_source_token(token, now=now) is not None
    old.refresh_from_db()
    assert old.expires_at is not None


def test_a_revoked_token_opens_nothing_and_is_not_rotated(as_root: Client, token: str) -> None:
    row = SourceToken.objects.get()
    url = button("telemetry_sourcetoken_revoke", row.pk)
    as_root.get(url)
    assert find_source_token(token, now=timezone.now()) is not None, "asking is not revoking"
    as_root.post(url, {"confirmed": "1"})
    assert find_source_token(token, now=timezone.now()) is None
    as_root.post(button("telemetry_sourcetoken_rotate", row.pk), {"confirmed": "1"})
    assert SourceToken.objects.count() == 1


def test_several_tokens_are_revoked_at_once(as_root: Client, source: Source) -> None:
    clears = [issue_token(source), issue_token(source)]
    keys = [str(row.pk) for row in SourceToken.objects.all()]
    given = {"action": "revoke_selected", "_selected_action": keys}
    as_root.post(changelist(SourceToken), given)
    assert SourceToken.objects.filter(revoked_at=None).count() == 2
    as_root.post(changelist(SourceToken), {**given, "confirmed": "1"})
    assert [find_source_token(clear, now=timezone.now()) for clear in clears] == [None, None]


def test_who_may_only_look_makes_rotates_and_revokes_no_token(as_viewer: Client, source: Source, token: str) -> None:
    row = SourceToken.objects.get()
    page = text(as_viewer.get(change(source)))
    for words in ("/rotate/", "/revoke/", "Make a token"):
        assert words not in page
    for name, key in (("source_make_token", source.pk), ("sourcetoken_rotate", row.pk), ("sourcetoken_revoke", row.pk)):
        assert as_viewer.post(button(f"telemetry_{name}", key), {"confirmed": "1"}).status_code == 403
    assert as_viewer.post(button("telemetry_apitoken_make"), {}).status_code == 403
    assert SourceToken.objects.count() == 1
    assert find_source_token(token, now=timezone.now()) is not None


def test_nobody_takes_a_superusers_api_token_over(as_viewer: Client, viewer: User, root: User) -> None:
    viewer.user_permissions.add(Permission.objects.get(codename="change_apitoken"))
    issue_api_token(root, "the boss's")
    theirs = ApiToken.objects.get()
    assert "the boss&#x27;s" not in text(as_viewer.get(changelist(ApiToken)))
    for act in ("rotate", "revoke"):
        answer = as_viewer.post(button(f"telemetry_apitoken_{act}", theirs.pk), {"confirmed": "1"})
        assert answer.status_code in (403, 404)
    refused = as_viewer.post(button("telemetry_apitoken_make"), {"scope": "read", "user": root.pk})
    assert "user" in refused.context["form"].errors
    mine = {"scope": "read", "user": viewer.pk, "label": "mine"}
    assert TOKEN.search(text(as_viewer.post(button("telemetry_apitoken_make"), mine)))
    assert set(ApiToken.objects.values_list("user__username", flat=True)) == {"root", "vera"}


SOURCE = {"name": "mta-1", "kind": "generic", "ip_map": "{}", "volume": "auto", "is_active": "on"}
NO_TOKENS = {f"tokens-{name}_FORMS": "0" for name in ("TOTAL", "INITIAL")}


def test_a_signing_key_is_set_kept_and_cleared_and_never_shown(as_root: Client, source: Source) -> None:
    url, key = change(source), "a-key-of-32-characters-or-more-xx"

    def save(**more: str) -> str:
        response = as_root.post(url, {**SOURCE, **NO_TOKENS, **more}, follow=True)
        assert response.redirect_chain, response.context["adminform"].form.errors
        source.refresh_from_db()
        assert key not in text(response) + text(as_root.get(url)) + text(as_root.get(changelist(Source)))
        return source.hmac_key

    assert save(new_hmac_key=key) == key
    assert key not in source.hmac_key_sealed
    assert save(notes="moved to another rack") == key
    assert save(clear_hmac_key="on") == ""


def test_a_source_is_made_and_never_deleted(as_root: Client) -> None:
    as_root.post(reverse("admin:telemetry_source_add"), {**SOURCE, **NO_TOKENS, "name": "mta-9"})
    made = Source.objects.get(name="mta-9")
    assert as_root.post(reverse("admin:telemetry_source_delete", args=[made.pk]), {"post": "yes"}).status_code == 403
    wrong = as_root.post(
        reverse("admin:telemetry_source_add"), {**SOURCE, **NO_TOKENS, "name": "b", "ip_map": '{"a": "no IP"}'}
    )
    assert "ip_map" in wrong.context["adminform"].form.errors
