"""The parts of the server one by one, without sockets: cases for pytest-benchmark.

`tidings bench micro` runs them; `pytest bench/micro` does too. A case is a function `case_…` in a file
`cases_….py` that gives the fixture `measure` what to time, and what must come of it.
"""
