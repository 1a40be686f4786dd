"""Raw events in day partitions (PostgreSQL), smaller receipts, primary keys that carry the sending IP.

PostgreSQL, on a live database: indexes are built CONCURRENTLY, a CHECK is validated without keeping writers out, and
what is left to do under a lock is a change of the catalogue alone. The old table becomes the first partition and takes
the events of the next days too: no row moves. Started again after a stop, it goes on where it was.

SQLite has one writer at a time and neither partitions nor more kinds of index: the receipts are copied into a smaller
table (a second or two for a million), and the index over time is made anew.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import migrations, models, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

EVENTS = "telemetry_sendingevent"
SEQUENCE = "telemetry_sendingevent_id_seq"
COUNTERS = [f"telemetry_{kind}{level}" for kind in ("traffic", "refusal") for level in ("minute", "hour", "day")]
WIDER = [*COUNTERS, "telemetry_changedsender"]
FAILURES = {"event_failures_by_ip": "sending_ip", "event_failures_by_domain": "sending_domain"}
# Columns of fixed width first: nothing is lost to alignment.
COLUMNS = """
    id bigint NOT NULL,
    received_at timestamptz NOT NULL,
    occurred_at timestamptz NOT NULL,
    source_id bigint NOT NULL,
    attempt_number integer,
    smtp_code smallint,
    future boolean NOT NULL,
    type varchar(10) NOT NULL,
    sending_ip inet NOT NULL,
    sending_domain varchar(255) NOT NULL,
    recipient varchar(330) NOT NULL,
    recipient_domain varchar(255) NOT NULL,
    provider varchar(60) NOT NULL,
    mx_host varchar(255) NOT NULL,
    enhanced_code varchar(16) NOT NULL,
    cause varchar(30) NOT NULL,
    reply text NOT NULL,
    message_id varchar(512) NOT NULL,
    classification varchar(200) NOT NULL,
    node varchar(200) NOT NULL,
    event_id varchar(512) NOT NULL
"""
NAMES = [line.split()[0] for line in COLUMNS.strip().splitlines()]
KEY = "id, sending_ip, type, received_at"
# How far the old table goes on as a partition. Its CHECK stands before it is attached: whose migration was stopped in
# between has this long to start it again before events are refused.
GOES_ON = timedelta(days=7)


def today() -> int:
    """Days since 1970 (UTC)."""
    return (datetime.now(UTC) - datetime(1970, 1, 1, tzinfo=UTC)).days


def forward(apps: StateApps, editor: BaseDatabaseSchemaEditor) -> None:
    """Lay the tables out anew."""
    if editor.connection.vendor == "postgresql":
        wider_keys(editor)
        smaller_receipts(editor)
        partitioned_events(editor)
    else:
        editor.execute("DROP INDEX IF EXISTS event_by_time")
        editor.execute(f"CREATE INDEX event_by_time ON {EVENTS} (received_at)")
        # WITHOUT ROWID: the key is stored once, not in the table and again in an index.
        copied_receipts(
            editor,
            "key char(32) NOT NULL PRIMARY KEY, received_on integer NOT NULL) WITHOUT ROWID",
            "key, CAST(strftime('%%s', received_at) AS integer) / 86400",
        )


def backward(apps: StateApps, editor: BaseDatabaseSchemaEditor) -> None:
    """As it was, but receipts no longer know their source, and on PostgreSQL count as received now.

    On PostgreSQL every stored event is copied: stop the processes first.
    """
    if editor.connection.vendor == "postgresql":
        plain_events(editor)
        older_receipts(editor)
        narrower_keys(editor)
    else:
        copied_receipts(
            editor,
            "key char(32) NOT NULL PRIMARY KEY, received_at datetime NOT NULL, source_id bigint NOT NULL)",
            "key, strftime('%Y-%m-%d %H:%M:%S', received_on * 86400, 'unixepoch'), 0",
        )
        editor.execute("CREATE INDEX receipt_by_time ON telemetry_receipt (received_at)")
        editor.execute("DROP INDEX IF EXISTS event_by_time")
        editor.execute(f"CREATE INDEX event_by_time ON {EVENTS} (occurred_at)")


def copied_receipts(editor: BaseDatabaseSchemaEditor, definition: str, values: str) -> None:
    """SQLite: the receipts in a table of another shape, in one transaction."""
    with transaction.atomic(using=editor.connection.alias):
        editor.execute(f"CREATE TABLE telemetry_receipt_new ({definition}")
        # In the order of the key each page is filled once.
        editor.execute(f"INSERT INTO telemetry_receipt_new SELECT {values} FROM telemetry_receipt ORDER BY key")
        editor.execute("DROP TABLE telemetry_receipt")
        editor.execute("ALTER TABLE telemetry_receipt_new RENAME TO telemetry_receipt")


def value(editor: BaseDatabaseSchemaEditor, query: str, *parameters: Any) -> Any:
    """The one value that a query answers."""
    with editor.connection.cursor() as cursor:
        cursor.execute(query, parameters)
        row = cursor.fetchone()
        return row[0] if row else None


def key_of(editor: BaseDatabaseSchemaEditor, table: str) -> str:
    """The columns of a table's primary key, as PostgreSQL writes them."""
    return str(
        value(
            editor,
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'p'",
            table,
        )
        or ""
    )


def replace_key(editor: BaseDatabaseSchemaEditor, table: str, columns: str) -> None:
    """Give a table another primary key: the index is built beside the writers, the exchange takes a moment."""
    if key_of(editor, table) == f"PRIMARY KEY ({columns})":
        return
    editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {table}_newkey")
    editor.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {table}_newkey ON {table} ({columns})")
    old = value(editor, "SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'p'", table)
    with transaction.atomic(using=editor.connection.alias):
        editor.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{old}"')
        editor.execute(f'ALTER TABLE {table} ADD CONSTRAINT "{old}" PRIMARY KEY USING INDEX {table}_newkey')


def wider_keys(editor: BaseDatabaseSchemaEditor) -> None:
    """Counters and the queue of changed senders: the sending IP belongs to the key."""
    for table in WIDER:
        replace_key(editor, table, "id, sending_ip")


def narrower_keys(editor: BaseDatabaseSchemaEditor) -> None:
    """Back to the id alone."""
    for table in WIDER:
        replace_key(editor, table, "id")


def smaller_receipts(editor: BaseDatabaseSchemaEditor) -> None:
    """A day instead of a time and a source. Existing receipts count as of today: kept longer, never shorter."""
    with transaction.atomic(using=editor.connection.alias):
        # A constant default is noted once in the catalogue, not in each row.
        editor.execute(
            f"ALTER TABLE telemetry_receipt ADD COLUMN IF NOT EXISTS received_on integer NOT NULL DEFAULT {today()}"
        )
        editor.execute("ALTER TABLE telemetry_receipt ALTER COLUMN received_on DROP DEFAULT")
        editor.execute("ALTER TABLE telemetry_receipt DROP COLUMN IF EXISTS received_at")
        editor.execute("ALTER TABLE telemetry_receipt DROP COLUMN IF EXISTS source_id")


def older_receipts(editor: BaseDatabaseSchemaEditor) -> None:
    """The columns of before, with constants in them."""
    with transaction.atomic(using=editor.connection.alias):
        editor.execute("ALTER TABLE telemetry_receipt ADD COLUMN received_at timestamptz NOT NULL DEFAULT now()")
        editor.execute("ALTER TABLE telemetry_receipt ADD COLUMN source_id bigint NOT NULL DEFAULT 0")
        editor.execute("ALTER TABLE telemetry_receipt ALTER COLUMN received_at DROP DEFAULT")
        editor.execute("ALTER TABLE telemetry_receipt ALTER COLUMN source_id DROP DEFAULT")
        editor.execute("ALTER TABLE telemetry_receipt DROP COLUMN received_on")
    editor.execute("CREATE INDEX CONCURRENTLY receipt_by_time ON telemetry_receipt USING brin (received_at)")


def partitioned_events(editor: BaseDatabaseSchemaEditor) -> None:
    """The partitioned table in the place of the plain one, which becomes its first partition if it holds anything."""
    if value(editor, "SELECT relkind FROM pg_class WHERE oid = %s::regclass", EVENTS) == "p":
        return
    if not value(editor, f"SELECT EXISTS (SELECT 1 FROM {EVENTS})"):
        with transaction.atomic(using=editor.connection.alias):
            editor.execute(f"LOCK TABLE {EVENTS}")
            if not value(editor, f"SELECT EXISTS (SELECT 1 FROM {EVENTS})"):
                editor.execute(f"DROP TABLE {EVENTS}")
                new_events(editor, first_id=1)
                return
    border = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + GOES_ON
    old = f"{EVENTS}_until_{border:%Y%m%d}"
    replace_key(editor, EVENTS, KEY)
    editor.execute("DROP INDEX CONCURRENTLY IF EXISTS event_by_time")
    editor.execute(f"CREATE INDEX CONCURRENTLY event_by_time ON {EVENTS} USING brin (received_at)")
    # What the attached partition promises, checked beforehand: attaching then reads no row.
    editor.execute(f"ALTER TABLE {EVENTS} DROP CONSTRAINT IF EXISTS event_before_partitions")
    editor.execute(
        f"ALTER TABLE {EVENTS} ADD CONSTRAINT event_before_partitions CHECK (received_at < '{border}') NOT VALID"
    )
    editor.execute(f"ALTER TABLE {EVENTS} VALIDATE CONSTRAINT event_before_partitions")
    with transaction.atomic(using=editor.connection.alias):
        editor.execute(f"LOCK TABLE {EVENTS}")
        sequence = value(editor, "SELECT pg_get_serial_sequence(%s, 'id')", EVENTS)
        next_id = value(editor, f"SELECT nextval('{sequence}')")
        editor.execute(f"ALTER TABLE {EVENTS} ALTER COLUMN id DROP IDENTITY")
        editor.execute(f"ALTER TABLE {EVENTS} RENAME TO {old}")
        for index in ("event_by_time", *FAILURES, f"{EVENTS}_pkey"):
            editor.execute(f"ALTER INDEX {index} RENAME TO {index}_until_{border:%Y%m%d}")
        new_events(editor, first_id=next_id)
        editor.execute(f"ALTER TABLE {EVENTS} ATTACH PARTITION {old} FOR VALUES FROM (MINVALUE) TO ('{border}')")
        editor.execute(f"ALTER TABLE {old} DROP CONSTRAINT event_before_partitions")


def new_events(editor: BaseDatabaseSchemaEditor, *, first_id: int) -> None:
    """The partitioned table, its indexes, and the partition for what has none."""
    editor.execute(f"CREATE SEQUENCE {SEQUENCE} START {first_id}")
    editor.execute(f"CREATE TABLE {EVENTS} ({COLUMNS}, PRIMARY KEY ({KEY})) PARTITION BY RANGE (received_at)")
    editor.execute(f"ALTER TABLE {EVENTS} ALTER COLUMN id SET DEFAULT nextval('{SEQUENCE}')")
    editor.execute(f"ALTER SEQUENCE {SEQUENCE} OWNED BY {EVENTS}.id")
    editor.execute(f"CREATE INDEX event_by_time ON {EVENTS} USING brin (received_at)")
    failure_indexes(editor)
    editor.execute(f"CREATE TABLE {EVENTS}_rest PARTITION OF {EVENTS} DEFAULT")


def failure_indexes(editor: BaseDatabaseSchemaEditor) -> None:
    """The two indexes that the models know of."""
    for index, column in FAILURES.items():
        editor.execute(f"CREATE INDEX {index} ON {EVENTS} ({column}, occurred_at) WHERE NOT (type = 'delivery')")


def plain_events(editor: BaseDatabaseSchemaEditor) -> None:
    """One plain table again, with all rows."""
    names = ", ".join(NAMES)
    with transaction.atomic(using=editor.connection.alias):
        editor.execute(f"LOCK TABLE {EVENTS}")
        next_id = value(editor, f"SELECT nextval('{SEQUENCE}')")
        editor.execute(f"ALTER TABLE {EVENTS} RENAME TO {EVENTS}_parts")
        editor.execute(f"ALTER SEQUENCE {SEQUENCE} RENAME TO {SEQUENCE}_parts")
        editor.execute(f"CREATE TABLE {EVENTS} ({COLUMNS})")
        editor.execute(f"INSERT INTO {EVENTS} ({names}) SELECT {names} FROM {EVENTS}_parts ORDER BY id")
        editor.execute(f"DROP TABLE {EVENTS}_parts")
        editor.execute(
            f"ALTER TABLE {EVENTS} ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (START WITH {next_id}), "
            f"ADD PRIMARY KEY (id)"
        )
        editor.execute(f"CREATE INDEX event_by_time ON {EVENTS} USING brin (occurred_at)")
        failure_indexes(editor)


class Migration(migrations.Migration):
    """Not atomic, because indexes are built CONCURRENTLY. Reversible; see `backward`."""

    atomic = False
    dependencies = [("telemetry", "0007_last_delivery")]
    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(forward, backward)],
            state_operations=[
                migrations.RemoveField(model_name="receipt", name="source"),
                migrations.RemoveField(model_name="receipt", name="received_at"),
                migrations.AddField(
                    model_name="receipt",
                    name="received_on",
                    field=models.IntegerField(help_text="Days since 1970, UTC.", default=0),
                    preserve_default=False,
                ),
            ],
        )
    ]
