"""Raw SQL for the migrations."""

from __future__ import annotations

from alembic import op


def execute(*statements: str) -> None:
    """Run each statement as it stands: nothing in it is taken for a bind parameter."""
    connection = op.get_bind()
    for statement in statements:
        connection.exec_driver_sql(statement)
