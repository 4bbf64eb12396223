"""Forecasts of load, in physical units and with intervals; empty until the first model lands."""
