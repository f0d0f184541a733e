"""Prompt tuning through queries: the tiny CLIP's training, and the benchmarks on it."""
