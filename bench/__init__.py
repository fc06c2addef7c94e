"""Benchmarks: simulated clients by the thousand, peers, and what was measured."""
