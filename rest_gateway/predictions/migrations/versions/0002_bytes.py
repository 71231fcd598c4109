"""How many bytes each prediction takes with its exchange, so that what is kept has a bound in bytes."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_BEFORE = """
    UPDATE predictions SET stored_bytes = 512 + length(inputs) + coalesce(length(outputs), 0) + coalesce(length(note), 0)
      + coalesce((SELECT coalesce(length(http), 0) + coalesce(length(upstream), 0) FROM exchanges
                  WHERE exchanges.prediction_id = predictions.id), 0)
"""


def upgrade() -> None:
    op.add_column("predictions", sa.Column("stored_bytes", sa.BigInteger, nullable=False, server_default="0"))
    op.execute(_BEFORE)
    op.create_index("predictions_by_bytes", "predictions", ["id", "stored_bytes"])


def downgrade() -> None:
    op.drop_index("predictions_by_bytes", "predictions")
    op.drop_column("predictions", "stored_bytes")
