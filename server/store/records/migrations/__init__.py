"""The tables of the records themselves, revision by revision."""
