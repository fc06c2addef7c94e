"""`python -m tidings.bench`."""

from tidings.bench.cli import app

app()
