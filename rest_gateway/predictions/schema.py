"""The tables. `migrations/` makes them; a test holds that both say the same."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()

predictions = Table(
    "predictions",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("model", Text, nullable=False),
    Column("requested_version", Text, nullable=False),
    Column("version", Text),
    Column("upstream", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("label", Text),  # JSON text, so that 7 and "7" come back as they were sent
    Column("label_text", Text),  # the label to filter and count by
    Column("note", Text),
    Column("answer_index", Integer),
    Column("answer_label", Text),
    Column("answer_score", Text),  # JSON text of the shortest digits; a float column would round on some databases
    Column("parameters", Text, nullable=False),
    Column("timings", Text),
    Column("message_bytes", Text),
    Column("error", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("queued_at", BigInteger),
    Column("run_after", BigInteger),
    Column("owner", String(64)),
    Column("lease_until", BigInteger),
    Column("claims", Integer, nullable=False),  # counts up; an outcome is taken from the last claim only
    Column("crashes", Integer, nullable=False),
    Column("inputs", Text, nullable=False),  # the large columns last: SQLite reads the others without them
    Column("outputs", Text),
    Column(
        "stored_bytes", BigInteger, nullable=False, server_default="0"
    ),  # with the exchange; read from its index alone
    Column("trace", Text),  # of the sampled request that queued it; read by workers alone
    Index("predictions_by_bytes", "id", "stored_bytes"),
    Index("predictions_by_time", "created_at"),
    Index("predictions_by_model", "model", "id"),
    Index("predictions_by_label", "label_text", "id"),
    Index("predictions_by_state", "state", "id"),
)

exchanges = Table(
    "exchanges",
    metadata,
    Column("prediction_id", String(36), primary_key=True),
    Column("http", Text),
    Column("upstream", Text),
)

history = Table(
    "history",
    metadata,
    Column("prediction_id", String(36), primary_key=True),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("event", String(16), nullable=False),  # how the next revision came about
    Column("at", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("upstream", Text, nullable=False),
    Column("version", Text),
    Column("label", Text),
    Column("note", Text),
    Column("answer_label", Text),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("key", String(255), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("reply", Text),  # JSON of `Reply`; NULL while the first request still runs
    Column("owner", String(64)),
    Column("lease_until", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Index("idempotency_keys_by_time", "created_at"),
)
