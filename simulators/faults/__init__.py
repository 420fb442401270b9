"""Faults of simulated machines: which there are, when they begin and end."""
