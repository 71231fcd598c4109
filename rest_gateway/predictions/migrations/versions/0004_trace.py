"""The trace that a queued prediction belongs to, so that its run is seen in the tree of the request that accepted it."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("predictions", sa.Column("trace", sa.Text))


def downgrade() -> None:
    op.drop_column("predictions", "trace")
