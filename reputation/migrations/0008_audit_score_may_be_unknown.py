"""An audit that could check nothing has no score. Dropping NOT NULL changes the catalogue only."""

from __future__ import annotations

from typing import Any

from django.db import migrations, models


def as_before(apps: Any, schema_editor: Any) -> None:
    """On the way back such audits count as they did: nothing was taken off."""
    apps.get_model("reputation", "AuditReport").objects.filter(score=None).update(score=100)


class Migration(migrations.Migration):
    dependencies = [("reputation", "0007_audits")]

    operations = [
        migrations.AlterField(
            model_name="auditreport",
            name="score",
            field=models.PositiveSmallIntegerField(
                help_text="0 to 100; what could not be checked takes nothing off. Empty: nothing could be checked.",
                null=True,
            ),
        ),
        migrations.RunPython(migrations.RunPython.noop, as_before),
    ]
