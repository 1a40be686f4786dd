import datetime

import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

import reputation.models.blocklist_shape


class Migration(migrations.Migration):
    dependencies = [
        ("reputation", "0005_kumomta"),
    ]

    operations = [
        migrations.CreateModel(
            name="Blocklist",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "name",
                    models.CharField(
                        help_text="Lower-case letters, digits, dashes and underscores, for example spamhaus_zen.",
                        max_length=60,
                        unique=True,
                        validators=[
                            django.core.validators.RegexValidator(
                                "^[a-z0-9][a-z0-9_-]*$", "Use lower-case letters, digits, dashes, underscores."
                            )
                        ],
                    ),
                ),
                ("operator", models.CharField(blank=True, max_length=100)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("ip", "blocklist of IPs"),
                            ("domain", "blocklist of domains"),
                            ("allow_ip", "allow list of IPs"),
                            ("allow_domain", "allow list of domains"),
                        ],
                        default="ip",
                        max_length=12,
                    ),
                ),
                (
                    "zone",
                    models.CharField(
                        blank=True,
                        help_text="Asked without a key.",
                        max_length=200,
                        validators=[reputation.models.blocklist_shape.valid_zone],
                    ),
                ),
                (
                    "keyed_zone",
                    models.CharField(
                        blank=True,
                        help_text="Asked where there is a key, with {key} in its place: {key}.bl.example.com.",
                        max_length=200,
                        validators=[reputation.models.blocklist_shape.valid_keyed_zone],
                    ),
                ),
                ("key_sealed", models.TextField(blank=True, editable=False)),
                ("ipv4", models.BooleanField(default=True, verbose_name="lists IPv4")),
                ("ipv6", models.BooleanField(default=False, verbose_name="lists IPv6")),
                (
                    "is_enabled",
                    models.BooleanField(
                        default=True, help_text="A list that is not enabled is never asked.", verbose_name="enabled"
                    ),
                ),
                (
                    "needs",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("key", "a key"),
                            ("key_or_resolver", "a key, or a resolver of one's own"),
                            ("resolver", "a resolver of one's own"),
                        ],
                        help_text="Before it may be asked. Without it, it is left alone.",
                        max_length=15,
                    ),
                ),
                (
                    "tier",
                    models.CharField(
                        choices=[
                            ("A", "A: moves delivery at large providers"),
                            ("B", "B: used by filters"),
                            ("C", "C: informs only"),
                        ],
                        default="C",
                        max_length=1,
                    ),
                ),
                (
                    "weight",
                    models.FloatField(
                        default=0.1,
                        help_text="From 0 to 1 within its tier; below 0 for allow lists.",
                        validators=[
                            django.core.validators.MinValueValidator(-1),
                            django.core.validators.MaxValueValidator(1),
                        ],
                    ),
                ),
                (
                    "match",
                    models.CharField(
                        choices=[
                            ("exact", "by the table of answers"),
                            ("bitmask", "bits of the last octet"),
                            ("any", "every 127.x.y.z but 127.255.255.x"),
                            ("dnswl", "127.0.category.trust"),
                        ],
                        default="exact",
                        max_length=8,
                        verbose_name="answers are read",
                    ),
                ),
                (
                    "listed",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        validators=[reputation.models.blocklist_shape.valid_listed],
                        verbose_name="answers that mean listed",
                    ),
                ),
                (
                    "not_listed",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        help_text="A sentence each; “error: …” where the list refuses the question.",
                        validators=[reputation.models.blocklist_shape.valid_not_listed],
                        verbose_name="answers that do not",
                    ),
                ),
                (
                    "bits",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        validators=[reputation.models.blocklist_shape.valid_bits],
                        verbose_name="bits that mean listed",
                    ),
                ),
                (
                    "informational_bits",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        validators=[reputation.models.blocklist_shape.valid_informational_bits],
                        verbose_name="bits that do not",
                    ),
                ),
                (
                    "test_listed",
                    models.JSONField(
                        blank=True,
                        default=list,
                        help_text="Empty: RFC 5782's, 127.0.0.2 or TEST.",
                        validators=[reputation.models.blocklist_shape.valid_test_points],
                        verbose_name="test points that are listed",
                    ),
                ),
                (
                    "test_clear",
                    models.JSONField(
                        blank=True,
                        default=list,
                        help_text="Empty: RFC 5782's, 127.0.0.1 or INVALID.",
                        validators=[reputation.models.blocklist_shape.valid_test_points],
                        verbose_name="test points that are not",
                    ),
                ),
                (
                    "resolver",
                    models.GenericIPAddressField(
                        blank=True,
                        help_text="An address to ask about this list alone. Empty: the usual DNS servers.",
                        null=True,
                    ),
                ),
                (
                    "resolver_port",
                    models.PositiveIntegerField(
                        default=53,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(65535),
                        ],
                    ),
                ),
                (
                    "queries_per_second",
                    models.PositiveIntegerField(
                        default=20,
                        help_text="Over all workers together.",
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(1000),
                        ],
                    ),
                ),
                (
                    "check_every",
                    models.DurationField(
                        default=datetime.timedelta(seconds=14400),
                        help_text="How often each IP or domain is looked up.",
                        validators=[
                            django.core.validators.MinValueValidator(datetime.timedelta(seconds=900)),
                            django.core.validators.MaxValueValidator(datetime.timedelta(days=7)),
                        ],
                    ),
                ),
                ("delist_url", models.URLField(blank=True, max_length=300, verbose_name="removal")),
                ("delist_note", models.CharField(blank=True, max_length=300, verbose_name="about removal")),
                ("notes", models.CharField(blank=True, help_text="Its operator's terms.", max_length=500)),
                ("source", models.CharField(blank=True, help_text="Where these facts are from.", max_length=300)),
                ("builtin", models.BooleanField(default=False, editable=False, verbose_name="shipped")),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
            ],
            options={
                "ordering": ["tier", "-weight", "name"],
            },
        ),
        migrations.CreateModel(
            name="Watermark",
            fields=[
                ("name", models.CharField(max_length=60, primary_key=True, serialize=False)),
                ("at", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="BlocklistCanary",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("family", models.PositiveSmallIntegerField(choices=[(4, "IPv4"), (6, "IPv6"), (0, "domains")])),
                ("is_good", models.BooleanField(verbose_name="believed")),
                (
                    "error",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("timeout", "timeout"),
                            ("servfail", "servfail"),
                            ("refused", "refused"),
                            ("network", "network"),
                            ("bad", "bad"),
                            ("blocked", "blocked"),
                            ("unknown_code", "unknown code"),
                            ("outside", "outside"),
                            ("canary", "canary"),
                        ],
                        max_length=15,
                    ),
                ),
                ("detail", models.CharField(blank=True, max_length=300)),
                ("asked_at", models.DateTimeField()),
                ("stands_until", models.DateTimeField(help_text="Not asked again before.")),
                (
                    "blocklist",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="canaries", to="reputation.blocklist"
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "blocklist canaries",
                "constraints": [
                    models.UniqueConstraint(fields=("blocklist", "family"), name="one_canary_per_list_and_family")
                ],
            },
        ),
        migrations.CreateModel(
            name="Listing",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(choices=[("ip", "sending IP"), ("domain", "sending domain")], max_length=6)),
                ("subject", models.CharField(help_text="The IP or domain.", max_length=255)),
                (
                    "state",
                    models.CharField(
                        choices=[("unknown", "unknown"), ("clean", "clean"), ("listed", "listed")],
                        default="unknown",
                        help_text="What is believed.",
                        max_length=7,
                    ),
                ),
                ("since", models.DateTimeField(blank=True, help_text="When the state was first believed.", null=True)),
                (
                    "pending",
                    models.CharField(
                        blank=True,
                        choices=[("unknown", "unknown"), ("clean", "clean"), ("listed", "listed")],
                        help_text="Seen, and not yet confirmed.",
                        max_length=7,
                    ),
                ),
                (
                    "seen",
                    models.PositiveSmallIntegerField(
                        default=0, help_text="How often in a row the pending state was seen."
                    ),
                ),
                (
                    "result",
                    models.CharField(
                        blank=True,
                        choices=[("listed", "listed"), ("clean", "clean"), ("error", "error")],
                        max_length=6,
                        verbose_name="last look",
                    ),
                ),
                (
                    "error",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("timeout", "timeout"),
                            ("servfail", "servfail"),
                            ("refused", "refused"),
                            ("network", "network"),
                            ("bad", "bad"),
                            ("blocked", "blocked"),
                            ("unknown_code", "unknown code"),
                            ("outside", "outside"),
                            ("canary", "canary"),
                        ],
                        max_length=15,
                    ),
                ),
                ("detail", models.CharField(blank=True, max_length=300)),
                ("codes", models.JSONField(blank=True, default=list, verbose_name="answers")),
                ("sublists", models.JSONField(blank=True, default=list)),
                ("meaning", models.CharField(blank=True, max_length=500)),
                (
                    "severity",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("info", "info"),
                            ("low", "low"),
                            ("medium", "medium"),
                            ("high", "high"),
                            ("critical", "critical"),
                        ],
                        max_length=8,
                    ),
                ),
                ("text", models.CharField(blank=True, max_length=500, verbose_name="the list's words")),
                ("asked_at", models.DateTimeField(blank=True, null=True)),
                ("took", models.FloatField(blank=True, help_text="Seconds.", null=True)),
                (
                    "fresh_until",
                    models.DateTimeField(blank=True, help_text="Until then the answer stands (TTL).", null=True),
                ),
                ("due_at", models.DateTimeField(default=django.utils.timezone.now, help_text="When it is asked next.")),
                ("failures", models.PositiveIntegerField(default=0, help_text="Errors in a row.")),
                (
                    "wanted_until",
                    models.DateTimeField(blank=True, editable=False, help_text="A person asked about it.", null=True),
                ),
                ("shard", models.PositiveSmallIntegerField(editable=False)),
                ("claim", models.CharField(blank=True, editable=False, max_length=32)),
                ("claimed_until", models.DateTimeField(blank=True, editable=False, null=True)),
                (
                    "blocklist",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="listings", to="reputation.blocklist"
                    ),
                ),
            ],
            options={
                "ordering": ["subject", "blocklist__tier", "-blocklist__weight", "blocklist__name"],
                "indexes": [
                    models.Index(fields=["shard", "due_at"], name="listing_due"),
                    models.Index(fields=["subject"], name="listing_by_subject"),
                    models.Index(condition=models.Q(("state", "listed")), fields=["since"], name="listing_standing"),
                    models.Index(
                        condition=models.Q(("claim", ""), _negated=True), fields=["claim"], name="listing_claimed"
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("blocklist", "subject"), name="one_listing_per_list_and_subject")
                ],
            },
        ),
        migrations.CreateModel(
            name="ListingEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(choices=[("ip", "sending IP"), ("domain", "sending domain")], max_length=6)),
                ("subject", models.CharField(help_text="The IP or domain.", max_length=255)),
                ("at", models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
                (
                    "from_state",
                    models.CharField(
                        choices=[("unknown", "unknown"), ("clean", "clean"), ("listed", "listed")],
                        max_length=7,
                        verbose_name="from",
                    ),
                ),
                (
                    "to_state",
                    models.CharField(
                        choices=[("unknown", "unknown"), ("clean", "clean"), ("listed", "listed")],
                        max_length=7,
                        verbose_name="to",
                    ),
                ),
                ("tier", models.CharField(help_text="Of the list at that time.", max_length=1)),
                ("codes", models.JSONField(blank=True, default=list, verbose_name="answers")),
                ("sublists", models.JSONField(blank=True, default=list)),
                ("meaning", models.CharField(blank=True, max_length=500)),
                (
                    "severity",
                    models.CharField(
                        choices=[
                            ("info", "info"),
                            ("low", "low"),
                            ("medium", "medium"),
                            ("high", "high"),
                            ("critical", "critical"),
                        ],
                        max_length=8,
                    ),
                ),
                ("text", models.CharField(blank=True, max_length=500, verbose_name="the list's words")),
                (
                    "blocklist",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="events", to="reputation.blocklist"
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
                "indexes": [
                    models.Index(fields=["subject", "id"], name="listing_event_by_subject"),
                    models.Index(fields=["blocklist", "id"], name="listing_event_by_list"),
                ],
            },
        ),
    ]
