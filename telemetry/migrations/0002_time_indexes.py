"""An index over time for the tables that are cleaned up by time, of the kind that suits each database.

PostgreSQL: BRIN, a few kilobytes for millions of rows that arrive in order of time. SQLite has none and gets a B-tree.
"""

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

INDEXES = {
    "event_by_time": ("telemetry_sendingevent", "occurred_at"),
    "receipt_by_time": ("telemetry_receipt", "received_at"),
}


def create(apps: StateApps, editor: BaseDatabaseSchemaEditor) -> None:
    """Create both indexes; instant, as the tables are new."""
    kind = "USING brin" if editor.connection.vendor == "postgresql" else ""
    for name, (table, column) in INDEXES.items():
        editor.execute(f"CREATE INDEX {name} ON {table} {kind} ({column})")


def drop(apps: StateApps, editor: BaseDatabaseSchemaEditor) -> None:
    """Drop both indexes."""
    for name in INDEXES:
        editor.execute(f"DROP INDEX IF EXISTS {name}")


class Migration(migrations.Migration):
    """Reversible."""

    dependencies = [("telemetry", "0001_initial")]
    operations = [migrations.RunPython(create, drop)]
