"""Stored readings for the page: trends, cycles, bands and files, from the stores that the configuration names."""
