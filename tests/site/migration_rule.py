"""What a migration may do while processes of the version before go on: the rule of docs/upgrading.md, as code.

An old process still names every column that it knows when it reads, leaves out those it does not know when it writes,
and must never wait long for a lock.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib.postgres.operations import AddConstraintNotValid, AddIndexConcurrently, RemoveIndexConcurrently
from django.contrib.postgres.operations import ValidateConstraint as Validate
from django.db import connection, migrations, models
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

from telemetry.migrating import AddIndexAside, RemoveIndexAside

# Tables that grow with mail: scanning one under a lock stops ingest.
GROWING = frozenset(
    f"telemetry.{name}"
    for name in (
        *("sendingevent", "receipt", "messagestate", "changedsender", "rejectedevent"),
        *(f"{kind}{level}" for kind in ("traffic", "refusal") for level in ("minute", "hour", "day")),
    )
) | {"reputation.senderscorehistory", "reputation.auditentry", "reputation.ipstandinghistory"}
# Old processes notice nothing of these, or only of a table that they do not know.
HARMLESS = (
    migrations.CreateModel,
    migrations.AlterModelOptions,
    migrations.AlterModelManagers,
    migrations.AlterModelTableComment,
    migrations.RenameIndex,
    migrations.RemoveConstraint,
    AddConstraintNotValid,
)
ASIDE = (AddIndexConcurrently, RemoveIndexConcurrently, AddIndexAside, RemoveIndexAside, Validate)
GONE = (migrations.RemoveField, migrations.RenameField, migrations.DeleteModel, migrations.RenameModel)


def broken(migration: migrations.Migration, state: ProjectState) -> list[str]:
    """What the migration does that it may not, one sentence each; `state` is the one before it, and is moved on."""
    return [
        f"{migration.app_label}.{migration.name}: {why}"
        for operation in migration.operations
        for why in _looked_at(operation, migration, state)
    ]


def _looked_at(operation: Operation, migration: migrations.Migration, state: ProjectState) -> Iterator[str]:
    before = state.clone()
    if isinstance(operation, migrations.SeparateDatabaseAndState):
        separately = state.clone()
        for inner in operation.database_operations:
            yield from _looked_at(inner, migration, separately)
        for inner in operation.state_operations:
            if isinstance(inner, migrations.RemoveField):
                yield from _forgotten(inner, migration, before)
    else:
        yield from _why_not(operation, migration, before, _after(operation, migration, state))
    operation.state_forwards(migration.app_label, state)


def _after(operation: Operation, migration: migrations.Migration, state: ProjectState) -> ProjectState:
    after = state.clone()
    operation.state_forwards(migration.app_label, after)
    return after


def _why_not(
    operation: Operation, migration: migrations.Migration, before: ProjectState, after: ProjectState
) -> Iterator[str]:
    says = operation.describe()
    growing = f"{migration.app_label}.{getattr(operation, 'model_name_lower', '')}" in GROWING
    if isinstance(operation, ASIDE):
        if migration.atomic:
            yield f"{says}: nothing can be done aside in a transaction; set atomic = False."
    elif isinstance(operation, HARMLESS):
        return
    elif isinstance(operation, GONE):
        yield f"{says}: processes of the version before still use it. Stop using it first, in a release of its own."
    elif isinstance(operation, migrations.AddIndex | migrations.RemoveIndex):
        if growing:
            yield f"{says}: the table grows with mail; use telemetry.migrating.{type(operation).__name__}Aside."
    elif isinstance(operation, migrations.AddField):
        yield from _added(operation.field, says, growing)
    elif isinstance(operation, migrations.AlterField):
        old, new = (
            state.apps.get_model(migration.app_label, operation.model_name)._meta.get_field(operation.name)
            for state in (before, after)
        )
        yield from _altered(old, new, says, growing)
    elif isinstance(operation, migrations.RunPython):
        if operation.code is not migrations.RunPython.noop:
            yield f"{says}: somebody must have looked whether it keeps others waiting; name it among those looked at."
    else:
        yield f"{says}: not known to be harmless; name it among those looked at."


def _added(field: models.Field[Any, Any], says: str, growing: bool) -> Iterator[str]:
    if field.many_to_many:
        return
    if not field.null and not field.has_db_default():
        yield f"{says}: the version before writes rows without it; give it null=True or a db_default."
    if growing and (field.unique or field.db_index):
        yield f"{says}: its index is built while writers wait; add the column, and the index aside."


def _altered(old: models.Field[Any, Any], new: models.Field[Any, Any], says: str, growing: bool) -> Iterator[str]:
    if old.null and not new.null:
        yield f"{says}: the version before may still write NULL."
    if old.has_db_default() and not new.has_db_default() and not new.null:
        yield f"{says}: the version before may rely on its db_default."
    if old.column != new.column:
        yield f"{says}: the version before knows the column by its old name."
    if (new.unique and not old.unique) or (growing and new.db_index and not old.db_index):
        yield f"{says}: its index is built while writers wait."
    if _kind(old) != _kind(new) and not _only_longer(old, new):
        yield f"{says}: the column's type changes, which rewrites the table or narrows what fits."


def _kind(field: models.Field[Any, Any]) -> Any:
    return field.db_parameters(connection)["type"]


def _only_longer(old: models.Field[Any, Any], new: models.Field[Any, Any]) -> bool:
    if old.get_internal_type() != "CharField" or new.get_internal_type() not in ("CharField", "TextField"):
        return False
    return new.max_length is None or (old.max_length is not None and old.max_length <= new.max_length)


def _forgotten(
    operation: migrations.RemoveField, migration: migrations.Migration, before: ProjectState
) -> Iterator[str]:
    """A field that the models forget while its column stays: rows are written without it from then on."""
    field = before.models[migration.app_label, operation.model_name_lower].fields[operation.name]
    if not field.null and not field.has_db_default():
        yield (
            f"{operation.describe()}, from the models alone: this version writes rows without it; make it null=True or "
            "give it a db_default first."
        )
