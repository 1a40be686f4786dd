"""The audit log by what it is about, for the pages of domains. On PostgreSQL nobody waits while the index is built."""

from django.db import migrations, models

from telemetry.migrating import AddIndexAside


class Migration(migrations.Migration):
    """Not atomic, because PostgreSQL builds no index concurrently in a transaction."""

    atomic = False
    dependencies = [("reputation", "0010_alerts")]

    operations = [
        AddIndexAside(model_name="auditentry", index=models.Index(fields=["subject", "at"], name="audit_by_subject")),
    ]
