"""Predictions, their exchanges, and the keys of requests that may be repeated."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "predictions",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("requested_version", sa.Text, nullable=False),
        sa.Column("version", sa.Text),
        sa.Column("upstream", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("label", sa.Text),
        sa.Column("label_text", sa.Text),
        sa.Column("note", sa.Text),
        sa.Column("answer_index", sa.Integer),
        sa.Column("answer_label", sa.Text),
        sa.Column("answer_score", sa.Text),
        sa.Column("parameters", sa.Text, nullable=False),
        sa.Column("timings", sa.Text),
        sa.Column("message_bytes", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("queued_at", sa.BigInteger),
        sa.Column("run_after", sa.BigInteger),
        sa.Column("owner", sa.String(64)),
        sa.Column("lease_until", sa.BigInteger),
        sa.Column("claims", sa.Integer, nullable=False),
        sa.Column("crashes", sa.Integer, nullable=False),
        sa.Column("inputs", sa.Text, nullable=False),
        sa.Column("outputs", sa.Text),
    )
    op.create_index("predictions_by_time", "predictions", ["created_at"])
    op.create_index("predictions_by_model", "predictions", ["model", "id"])
    op.create_index("predictions_by_label", "predictions", ["label_text", "id"])
    op.create_index("predictions_by_state", "predictions", ["state", "id"])
    op.create_table(
        "exchanges",
        sa.Column("prediction_id", sa.String(36), primary_key=True),
        sa.Column("http", sa.Text),
        sa.Column("upstream", sa.Text),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("key", sa.String(255), primary_key=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("reply", sa.Text),
        sa.Column("owner", sa.String(64)),
        sa.Column("lease_until", sa.BigInteger),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_index("idempotency_keys_by_time", "idempotency_keys", ["created_at"])


def downgrade() -> None:
    op.drop_table("idempotency_keys")
    op.drop_table("exchanges")
    op.drop_table("predictions")
