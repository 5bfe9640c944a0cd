"""The database's schema: Alembic, with raw SQL in ``versions/``."""
