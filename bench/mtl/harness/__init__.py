"""What the benchmarks on data sets share: options, methods, the training loop, checkpoints, tables."""
