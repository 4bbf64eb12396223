"""Training runs; empty until the first agent lands."""
