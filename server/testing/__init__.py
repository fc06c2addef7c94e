"""A real server for the tests of what is built on Tidings, and faults to try it with. Imports nothing by itself."""
