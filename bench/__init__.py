"""Benchmarks: each module runs as ``python -m bench.NAME``, prints a table, writes CSV and PNG."""
