"""The tables of notifications, revision by revision."""
