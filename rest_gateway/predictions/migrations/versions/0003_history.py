"""What each prediction was before its changes: a row for every revision that another took the place of."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "history",
        sa.Column("prediction_id", sa.String(36), primary_key=True),
        sa.Column("revision", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("event", sa.String(16), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("upstream", sa.Text, nullable=False),
        sa.Column("version", sa.Text),
        sa.Column("label", sa.Text),
        sa.Column("note", sa.Text),
        sa.Column("answer_label", sa.Text),
    )


def downgrade() -> None:
    op.drop_table("history")
