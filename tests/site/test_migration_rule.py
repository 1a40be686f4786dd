"""Migrations run while processes of the version before go on (docs/upgrading.md)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.db.migrations.state import ProjectState
from django.utils import timezone

from reputation_site import readiness
from telemetry.migrating import AddIndexAside
from tests.site.migration_rule import GROWING, broken

ROOT = Path(__file__).resolve().parents[2]
# The last migrations of the first release: whoever is on an older checkout stops everything to upgrade.
BASELINE = {"telemetry": "0010_token_scopes_and_limits", "reputation": "0011_audit_by_subject"}
# Migrations that break the rule and may, each with why: what was left unused by which release, how rows are gone
# through in batches, how it was tried beside running writers.
LOOKED_AT: dict[str, str] = {}


def ours() -> Iterator[tuple[migrations.Migration, ProjectState]]:
    """Every migration of ours after the first release, with the state before it."""
    loader = MigrationLoader(None)
    own = {config.label for config in apps.get_app_configs() if Path(config.path).parent == ROOT}
    assert {"telemetry", "reputation"} <= own
    for app, name in sorted(key for key in loader.graph.nodes if key[0] in own):
        if app not in BASELINE or name > BASELINE[app]:
            yield loader.get_migration(app, name), loader.project_state((app, name), at_end=False)


def test_no_migration_since_the_first_release_breaks_the_rule() -> None:
    found = {f"{migration.app_label}.{migration.name}": broken(migration, state) for migration, state in ours()}
    assert not [why for name, reasons in found.items() if name not in LOOKED_AT for why in reasons]
    assert all(found.get(name) for name in LOOKED_AT), "one of those looked at is not there, or keeps the rule"


def test_a_migration_that_breaks_the_rule_is_found_among_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of before the first release does; it counts where the line is drawn before it."""
    monkeypatch.setitem(BASELINE, "telemetry", "0009_access_log")
    found = {migration.name: broken(migration, state) for migration, state in ours()}
    assert any("allowed_networks" in why for why in found["0010_token_scopes_and_limits"])


def test_the_baseline_and_the_tables_that_grow_are_there() -> None:
    loader = MigrationLoader(None)
    assert all((app, name) in loader.graph.nodes for app, name in BASELINE.items())
    tables = {model._meta.label_lower for model in apps.get_models()}
    assert tables >= GROWING, GROWING - tables


@pytest.mark.django_db
def test_a_version_serves_on_tables_of_the_next_one() -> None:
    """As the rule has it: to go back, the code is exchanged and the database is not."""
    MigrationRecorder(connection).record_applied("telemetry", "0999_of_the_next_version")
    readiness._migrated = False
    assert not [trouble for trouble in readiness.troubles(now=timezone.now()) if trouble.stops]


def missed_by_the_first_release() -> list[str]:
    """What a process of the first release would stumble over in the tables as they are now."""
    loader = MigrationLoader(None)
    then = loader.project_state(list(BASELINE.items()))
    missed = []
    with connection.cursor() as cursor:
        tables = set(connection.introspection.table_names(cursor))
        for app, name in then.models:
            if app not in BASELINE:
                continue
            model = then.apps.get_model(app, name)
            table = model._meta.db_table
            if table not in tables:
                missed.append(f"{table} is gone")
                continue
            columns = {one.name: one for one in connection.introspection.get_table_description(cursor, table)}
            known = {field.column for field in model._meta.concrete_fields}
            missed += [f"{table}.{column} is gone" for column in sorted(known - set(columns))]
            missed += [
                f"{table}.{column} must be filled"
                for column in sorted(set(columns) - known)
                if not columns[column].null_ok and columns[column].default is None
            ]
    return missed


@pytest.mark.django_db
def test_a_process_of_the_first_release_could_read_and_write_every_table() -> None:
    """The same as the rule, seen from the database: it does not trust what the migrations say of themselves."""
    assert missed_by_the_first_release() == []


@pytest.mark.django_db(transaction=True)
def test_a_table_that_the_first_release_could_not_write_would_be_noticed() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE reputation_warmuptemplate RENAME COLUMN name TO title")
        cursor.execute("ALTER TABLE telemetry_lease RENAME TO telemetry_turn")
    try:
        found = missed_by_the_first_release()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE telemetry_turn RENAME TO telemetry_lease")
            cursor.execute("ALTER TABLE reputation_warmuptemplate RENAME COLUMN title TO name")
    assert sorted(found) == [
        "reputation_warmuptemplate.name is gone",
        "reputation_warmuptemplate.title must be filled",
        "telemetry_lease is gone",
    ]


# --- that the rule tells good from bad ---


def house() -> ProjectState:
    """Two tables of an invented version before: one that grows with mail and a small one."""
    state = ProjectState()
    fields = [
        ("id", models.BigAutoField(primary_key=True)),
        ("ip", models.CharField(max_length=40)),
        ("note", models.CharField(max_length=100, null=True)),
        ("count", models.IntegerField(db_default=0)),
    ]
    index = models.Index(fields=["ip"], name="by_ip")
    for name in ("SendingEvent", "Rule"):
        operation = migrations.CreateModel(name, [(key, field.clone()) for key, field in fields])
        operation.state_forwards("telemetry", state)
    migrations.AddIndex("sendingevent", index).state_forwards("telemetry", state)
    return state


def judged(*operations: Any, atomic: bool = True) -> list[str]:
    migration = migrations.Migration("0099_invented", "telemetry")
    migration.operations = list(operations)
    migration.atomic = atomic
    return broken(migration, house())


def touch(apps: Any, editor: Any) -> None:
    """Stands for a data migration."""


BY_NOTE = models.Index(fields=["note"], name="by_note")
FORBIDDEN = {
    "a column is dropped": (migrations.RemoveField("rule", "note"), "still use it"),
    "a column is renamed": (migrations.RenameField("rule", "note", "remark"), "still use it"),
    "a table is dropped": (migrations.DeleteModel("Rule"), "still use it"),
    "a table is renamed": (migrations.RenameModel("Rule", "Policy"), "still use it"),
    "a table is called otherwise": (migrations.AlterModelTable("Rule", "rules"), "not known to be harmless"),
    "a column without default in the database": (
        migrations.AddField("rule", "kind", models.CharField(max_length=5, default="x")),
        "without it",
    ),
    "a column with an index on a growing table": (
        migrations.AddField("sendingevent", "kind", models.IntegerField(null=True, db_index=True)),
        "writers wait",
    ),
    "a column may no longer be empty": (
        migrations.AlterField("rule", "note", models.CharField(max_length=100)),
        "NULL",
    ),
    "a column gets shorter": (migrations.AlterField("rule", "ip", models.CharField(max_length=39)), "type"),
    "a column gets another type": (migrations.AlterField("rule", "ip", models.GenericIPAddressField()), "type"),
    "a column loses its default": (migrations.AlterField("rule", "count", models.IntegerField()), "db_default"),
    "a column is stored under another name": (
        migrations.AlterField("rule", "count", models.IntegerField(db_default=0, db_column="total")),
        "old name",
    ),
    "a column becomes unique": (
        migrations.AlterField("rule", "ip", models.CharField(max_length=40, unique=True)),
        "writers wait",
    ),
    "an index on a growing table": (migrations.AddIndex("sendingevent", BY_NOTE), "AddIndexAside"),
    "an index of a growing table is dropped": (migrations.RemoveIndex("sendingevent", "by_ip"), "RemoveIndexAside"),
    "an index aside, in a transaction": (AddIndexAside("sendingevent", BY_NOTE), "atomic = False"),
    "a constraint on rows that are there": (
        migrations.AddConstraint("rule", models.UniqueConstraint(fields=["ip"], name="one_ip")),
        "not known to be harmless",
    ),
    "rows are changed": (migrations.RunPython(touch), "looked at"),
    "SQL is run": (migrations.RunSQL("UPDATE telemetry_rule SET count = 1"), "not known to be harmless"),
    "a column is dropped behind the models' back": (
        migrations.SeparateDatabaseAndState(database_operations=[migrations.RemoveField("rule", "note")]),
        "still use it",
    ),
    "the models forget a column that must be filled": (
        migrations.SeparateDatabaseAndState(state_operations=[migrations.RemoveField("rule", "ip")]),
        "from the models alone",
    ),
}
ALLOWED = {
    "a new table": migrations.CreateModel("New", [("id", models.BigAutoField(primary_key=True))]),
    "a column that may be empty": migrations.AddField("rule", "kind", models.CharField(max_length=5, null=True)),
    "a column with its default in the database": migrations.AddField(
        "sendingevent", "kind", models.IntegerField(db_default=1)
    ),
    "a column gets longer": migrations.AlterField("rule", "ip", models.CharField(max_length=45)),
    "a column may be empty from now on": migrations.AlterField(
        "rule", "ip", models.CharField(max_length=40, null=True)
    ),
    "other words for people": migrations.AlterField(
        "rule", "ip", models.CharField("address", max_length=40, help_text="IPv4 or IPv6")
    ),
    "an index on a small table": migrations.AddIndex("rule", models.Index(fields=["note"], name="rule_by_note")),
    "the models forget a column that may be empty": migrations.SeparateDatabaseAndState(
        state_operations=[migrations.RemoveField("rule", "note")]
    ),
}


@pytest.mark.django_db
@pytest.mark.parametrize("what", FORBIDDEN)
def test_the_rule_forbids(what: str) -> None:
    operation, word = FORBIDDEN[what]
    [why] = judged(operation)
    assert word in why
    assert why.startswith("telemetry.0099_invented: ")


@pytest.mark.django_db
@pytest.mark.parametrize("what", ALLOWED)
def test_the_rule_allows(what: str) -> None:
    assert judged(ALLOWED[what]) == []


def test_the_rule_allows_an_index_aside_outside_a_transaction() -> None:
    assert judged(AddIndexAside("sendingevent", BY_NOTE), atomic=False) == []


# --- and that what it says of old processes is so ---


def tried(operation: Any) -> None:
    """Run it on real tables, and then write and read as the version before does."""
    before = house()
    after = before.clone()
    operation.state_forwards("telemetry", after)
    rule = before.apps.get_model("telemetry", "Rule")
    rule._meta.db_table = after.models["telemetry", "rule"].options["db_table"] = "rule_of_the_version_before"
    with connection.schema_editor(atomic=False) as editor:
        editor.create_model(rule)
    try:
        with connection.schema_editor(atomic=False) as editor:
            before.models["telemetry", "rule"].options["db_table"] = rule._meta.db_table
            before.reload_model("telemetry", "rule")
            operation.database_forwards("telemetry", editor, before, after)
        rule.objects.create(ip="192.0.2.1")
        assert [one.ip for one in rule.objects.all()] == ["192.0.2.1"]
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE {rule._meta.db_table}")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "what", [name for name, operation in ALLOWED.items() if getattr(operation, "model_name", "") == "rule"]
)
def test_the_version_before_goes_on_after_what_is_allowed(what: str) -> None:
    tried(ALLOWED[what])


@pytest.mark.django_db(transaction=True)
def test_the_version_before_fails_after_a_column_that_it_would_have_to_fill() -> None:
    with pytest.raises(IntegrityError):
        tried(FORBIDDEN["a column without default in the database"][0])
