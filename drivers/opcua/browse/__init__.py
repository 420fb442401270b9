"""Exploring the address space of a server (Part 3; Part 4, 5.8)."""
