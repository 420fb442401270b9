"""Machines without a network: models, PackML states, parts, lines and plants."""
