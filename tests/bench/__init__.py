"""Benchmarks: `make bench`. Everything is measured side by side in one run, because machines are noisy."""
