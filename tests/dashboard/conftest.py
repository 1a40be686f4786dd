"""Who looks at the pages: Olga, who may do everything."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client


@pytest.fixture
def operator(django_user_model: type[User]) -> User:
    """A superuser."""
    return django_user_model.objects.create_superuser("olga", "olga@example.com", "correct horse battery")


@pytest.fixture
def staff(client: Client, operator: User) -> Client:
    """A client in which Olga has logged in."""
    client.force_login(operator)
    return client
