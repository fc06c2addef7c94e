"""The tables of the line board, revision by revision."""
