"""Learned policies; empty until the first agent lands."""
