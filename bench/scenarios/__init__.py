"""One scenario a module: its options, and `run`, which returns a report."""
