"""Simulated machines served over OPC UA."""
