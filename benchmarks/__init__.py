"""Benchmarks: every figure the documentation states, measured by a module here. `python -m benchmarks --help`."""
