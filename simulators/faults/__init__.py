"""Faults of simulated machines: the catalogue, the schedule, and the control file."""
