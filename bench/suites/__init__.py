"""The benchmarks of the harness: one suite per file, found by its name."""
