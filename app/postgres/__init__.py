"""Postgres: the inbox, the queue, the outbox and the status, over one asyncpg pool."""
