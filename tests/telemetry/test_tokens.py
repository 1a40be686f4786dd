"""Tokens: shown once, stored as digests, rotated without a gap, ended at once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from telemetry.models import Source, SourceToken
from telemetry.tokens import find_api_token, find_source_token, issue_api_token, issue_token, revoke_token, rotate_token

pytestmark = pytest.mark.django_db


def test_a_stolen_table_is_no_stolen_key(source: Source) -> None:
    clear = issue_token(source, "relay")
    stored = SourceToken.objects.get()
    secret = clear.removeprefix(f"gs_{stored.prefix}_")
    values = " ".join(str(getattr(stored, field.name)) for field in SourceToken._meta.fields)
    assert len(secret) == 43
    assert secret not in values
    assert secret not in str(stored)


def test_a_token_is_found_only_by_its_whole_text(source: Source) -> None:
    clear = issue_token(source)
    now = timezone.now()
    found = find_source_token(clear, now=now)
    assert found is not None
    assert found.source == source
    last = "A" if clear[-5] != "A" else "B"
    for wrong in (clear[:-1], clear + "x", clear[:-5] + last + clear[-4:], clear.upper(), "", "gs__", clear[3:]):
        assert find_source_token(wrong, now=now) is None


def test_the_old_token_goes_on_while_the_new_one_is_rolled_out(source: Source) -> None:
    now = timezone.now()
    old = issue_token(source, "relay")
    new = rotate_token(SourceToken.objects.get(), now=now, overlap=timedelta(hours=1))
    assert find_source_token(old, now=now)
    assert find_source_token(new, now=now)
    SourceToken.objects.filter(expires_at__isnull=False).update(expires_at=now - timedelta(seconds=1))
    assert find_source_token(old, now=now) is None
    assert find_source_token(new, now=now)
    assert set(SourceToken.objects.values_list("label", flat=True)) == {"relay"}


def test_rotation_never_lengthens_a_life(source: Source) -> None:
    now = timezone.now()
    ends = now + timedelta(minutes=5)
    issue_token(source, expires_at=ends)
    token = SourceToken.objects.get()
    rotate_token(token, now=now, overlap=timedelta(days=1))
    token.refresh_from_db()
    assert token.expires_at == ends


def test_a_revoked_token_ends_at_once_and_for_ever(source: Source) -> None:
    clear = issue_token(source)
    now = timezone.now()
    token = SourceToken.objects.get()
    revoke_token(token, now=now)
    revoke_token(token, now=now + timedelta(days=1))
    assert token.revoked_at == now
    assert find_source_token(clear, now=now) is None


def test_use_is_noted_once_a_minute(source: Source) -> None:
    clear = issue_token(source)
    now = timezone.now()
    for seconds in (0, 30, 90):
        find_source_token(clear, now=now + timedelta(seconds=seconds))
    assert SourceToken.objects.get().last_used_at == now + timedelta(seconds=90)


def test_a_new_secret_key_keeps_old_tokens_while_the_previous_key_is_known(source: Source, settings: Any) -> None:
    clear = issue_token(source)
    source.hmac_key = "signing key"
    source.save()
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "an entirely new key of some length"
    assert find_source_token(clear, now=timezone.now())
    assert Source.objects.get().hmac_key == "signing key"
    settings.SECRET_KEY_FALLBACKS = []
    assert find_source_token(clear, now=timezone.now()) is None


def test_source_tokens_and_api_tokens_are_not_interchangeable(source: Source, django_user_model: Any) -> None:
    user = django_user_model.objects.create_user("olga")
    now = timezone.now()
    assert find_api_token(issue_token(source), now=now) is None
    assert find_source_token(issue_api_token(user), now=now) is None
