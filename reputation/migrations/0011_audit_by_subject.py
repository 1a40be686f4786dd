"""The audit log by what it is about, for the pages of domains. On PostgreSQL nobody waits while the index is built."""

from __future__ import annotations

from typing import Any

from django.db import migrations, models


class AddIndexAside(migrations.AddIndex):
    """Adds the index beside running writers where the database can."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Build it."""
        model = to_state.apps.get_model(app_label, self.model_name)
        schema_editor.add_index(model, self.index, **_aside(schema_editor))

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Drop it."""
        model = from_state.apps.get_model(app_label, self.model_name)
        schema_editor.remove_index(model, self.index, **_aside(schema_editor))


def _aside(schema_editor: Any) -> dict[str, bool]:
    return {"concurrently": True} if schema_editor.connection.vendor == "postgresql" else {}


class Migration(migrations.Migration):
    """Not atomic, because PostgreSQL builds no index concurrently in a transaction."""

    atomic = False
    dependencies = [("reputation", "0010_alerts")]

    operations = [
        AddIndexAside(model_name="auditentry", index=models.Index(fields=["subject", "at"], name="audit_by_subject")),
    ]
