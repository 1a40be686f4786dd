"""Every broker that the set-up may name is one that permits and limits can live with."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from reputation import budgets
from reputation_site.checks import BROKER_SCHEMES
from telemetry.limits import Charge, Meter
from telemetry.redis_urls import client_url


@pytest.mark.parametrize("scheme", BROKER_SCHEMES)
def test_what_the_checks_let_pass_is_understood_or_done_without(scheme: str, settings: Any) -> None:
    settings.REDIS_URL = f"{scheme}://127.0.0.1:26379/0"
    url = client_url(settings.REDIS_URL)
    kept_in_redis = isinstance(budgets.store(), budgets.RedisStore)
    assert kept_in_redis == (scheme != "sentinel")
    if url is not None:
        redis.Redis.from_url(url)
    assert Meter(settings.REDIS_URL).charge([Charge(1, (("requests", 1, 60),))]) == [None]


def test_no_url_is_none() -> None:
    assert client_url("") is None
    assert client_url("redis+socket:///run/valkey.sock") == "unix:///run/valkey.sock"
