"""How far an API token goes, and from where and how much a source may report."""

import django.core.validators
from django.db import migrations, models

import telemetry.models.sources

SCOPES = [("read", "read"), ("operate", "operate"), ("admin", "admin")]
SCOPE = (
    "How far it goes; never further than its user. read: looks; operate: acts on senders; admin: all that its user may."
)
LIMIT = "More are answered 429. Empty: the installation's limit; 0: no limit."


def limit() -> models.PositiveIntegerField:
    """A number a minute."""
    most = django.core.validators.MaxValueValidator(10_000_000)
    return models.PositiveIntegerField(blank=True, help_text=LIMIT, null=True, validators=[most])


class Migration(migrations.Migration):
    """Reversible. Tokens that are there may what they might before: all that their user may."""

    dependencies = [("telemetry", "0009_access_log")]
    operations = [
        migrations.AddField(
            model_name="apitoken",
            name="scope",
            field=models.CharField(choices=SCOPES, default="admin", help_text=SCOPE, max_length=10),
        ),
        migrations.AlterField(
            model_name="apitoken",
            name="scope",
            field=models.CharField(choices=SCOPES, default="read", help_text=SCOPE, max_length=10),
        ),
        migrations.AddField(
            model_name="source",
            name="allowed_networks",
            field=models.JSONField(
                blank=True,
                default=list,
                help_text="Networks that reports may come from, such as 203.0.113.0/24 or 2001:db8::/32; others are "
                "answered 403. Empty: anywhere.",
                validators=[telemetry.models.sources.valid_networks],
            ),
        ),
        migrations.AddField(model_name="source", name="events_per_minute", field=limit()),
        migrations.AddField(model_name="source", name="requests_per_minute", field=limit()),
    ]
