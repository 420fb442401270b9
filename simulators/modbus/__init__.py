"""Simulated machines served over Modbus."""
