"""Certificates, trust, and how a connection is secured (Part 2, Part 4, 6.1)."""
