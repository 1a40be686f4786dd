"""How the OpenAPI document describes an operation: with the scope that an API token needs for it."""

from __future__ import annotations

from drf_spectacular.openapi import AutoSchema

from telemetry.authentication import ApiTokenAuthentication
from telemetry.scopes import scope_needed


class Schema(AutoSchema):
    """Says in each operation's description which scope a token needs."""

    def get_description(self) -> str:  # type: ignore[override]
        """The view's own words, then the scope, where an API token opens it at all."""
        said = str(super().get_description() or "")
        if not any(isinstance(way, ApiTokenAuthentication) for way in self.view.get_authenticators()):
            return said
        return f"{said}\n\nScope of the API token: `{scope_needed(self.method, self.view)}`.".strip()
