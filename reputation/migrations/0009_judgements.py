"""Whether the automation was right."""

from __future__ import annotations

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("reputation", "0008_audit_score_may_be_unknown"),
    ]

    operations = [
        migrations.CreateModel(
            name="Judgement",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(db_index=True, verbose_name="of the change")),
                ("action", models.CharField(max_length=40)),
                ("policy_revision", models.PositiveIntegerField(blank=True, null=True)),
                (
                    "verdict",
                    models.CharField(choices=[("right", "right"), ("false_alarm", "false alarm")], max_length=12),
                ),
                ("note", models.TextField(blank=True)),
                ("judged_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("judged_by", models.CharField(help_text="The user's name at that time.", max_length=150)),
                (
                    "entry",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="judgement",
                        to="reputation.auditentry",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={"ordering": ["-at"]},
        ),
    ]
