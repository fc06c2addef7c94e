"""`python -m tidings.server` does what the `tidings` command does."""

from tidings.server.cli import main

main()
