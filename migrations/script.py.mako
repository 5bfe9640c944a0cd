"""${message}."""

from __future__ import annotations

from migrations.execute import execute

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Say here what the change gives."""
    execute("""""")


def downgrade() -> None:
    """Say here what is lost."""
    execute("""""")
