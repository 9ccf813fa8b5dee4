"""Timing side by side with other libraries: `python -m benchmarks SUITE... [--peers ...]`.

Nothing heavy is imported here, so that the command line can set the number of threads first.
"""
