"""A form field for a list of networks: one a line."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import UnfoldAdminTextareaWidget

from telemetry.domain.addresses import networks
from telemetry.domain.errors import ParseError


class NetworksField(forms.CharField):
    """Networks in CIDR form, one a line or separated by commas; stored as a list."""

    widget = UnfoldAdminTextareaWidget(attrs={"rows": 4})

    def prepare_value(self, value: Any) -> Any:
        """A stored list as lines; what was typed as it was typed."""
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        """The list, each network in its usual form. Raises for the first that is none."""
        try:
            return [str(found) for found in networks(str(value or "").replace(",", " ").split())]
        except ParseError as error:
            raise ValidationError(error.message) from None

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compare what is meant; nonsense counts as a change."""
        try:
            return bool(list(initial or []) != self.to_python(data))
        except ValidationError:
            return True
