"""Measurements, each paired with a baseline in the same run. `make bench` prints the tables of RESULTS.md."""
