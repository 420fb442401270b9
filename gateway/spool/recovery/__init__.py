"""Rebuilds a damaged spool from the pages that are intact."""
