"""The tables of accounts, revision by revision."""
