"""Sends records from the spool to the broker, and retained messages about machines and this gateway."""
