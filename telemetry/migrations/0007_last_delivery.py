"""When the latest delivery of a minute cell was, and one function that ingest asks where the roll-up stands."""

from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

# A function because a statement sees what was committed when it began, hence not what a roll-up committed while the
# statement waited for the lock. Each query of a volatile function looks anew.
COUNTING_MARK = """
CREATE FUNCTION telemetry_counting_mark(lock bigint) RETURNS timestamptz LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(lock);
    RETURN (SELECT rolled_up_to FROM telemetry_rollupmark WHERE id = 1);
END
$$
"""


def create(apps: StateApps, editor: BaseDatabaseSchemaEditor) -> None:
    """Create the function; SQLite needs none, its writers take turns."""
    if editor.connection.vendor == "postgresql":
        editor.execute(COUNTING_MARK)


def drop(apps: StateApps, editor: BaseDatabaseSchemaEditor) -> None:
    """Drop the function."""
    if editor.connection.vendor == "postgresql":
        editor.execute("DROP FUNCTION IF EXISTS telemetry_counting_mark(bigint)")


class Migration(migrations.Migration):
    """Reversible. A column that may be null and has no default is added without touching the rows."""

    dependencies = [("telemetry", "0006_completeness")]
    operations = [
        migrations.AddField(
            model_name="trafficminute",
            name="last_delivered_at",
            field=models.DateTimeField(
                help_text="The latest delivery in this cell: tells whether refusals came after it.", null=True
            ),
        ),
        migrations.RunPython(create, drop),
    ]
