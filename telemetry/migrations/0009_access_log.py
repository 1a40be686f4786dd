"""The access log."""

import django.utils.timezone
from django.db import migrations, models

import telemetry.models.access


class Migration(migrations.Migration):
    """Reversible: a table of its own."""

    dependencies = [("telemetry", "0008_storage")]
    operations = [
        migrations.CreateModel(
            name="AccessRecord",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
                ("kind", models.CharField(choices=telemetry.models.access.kinds, max_length=30)),
                ("who", models.CharField(blank=True, help_text="A user's or a source's name.", max_length=150)),
                (
                    "token",
                    models.CharField(
                        blank=True, help_text="The prefix of the token, where one was used.", max_length=16
                    ),
                ),
                (
                    "address",
                    models.GenericIPAddressField(
                        blank=True, help_text="Empty: a command on the machine itself.", null=True
                    ),
                ),
                ("detail", models.CharField(blank=True, max_length=300)),
            ],
            options={
                "verbose_name": "access record",
                "verbose_name_plural": "access log",
                "ordering": ["-id"],
                "indexes": [models.Index(fields=["token", "kind", "at"], name="access_by_token")],
            },
        ),
    ]
