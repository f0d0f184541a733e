"""Benchmarks of bilevel optimisation and of NORMAL."""
