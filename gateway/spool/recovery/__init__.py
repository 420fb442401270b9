"""Rebuild a damaged spool from its undamaged pages."""
