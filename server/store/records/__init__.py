"""Records: what apps keep in tables, on SQLite or PostgreSQL."""
