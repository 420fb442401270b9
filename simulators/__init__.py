"""Machines that can be read: physics, lines, and the servers that speak their protocols.

    model (physics, PackML) ─▶ line (parts flow) ─▶ plant (values by point) ─▶ Modbus and OPC UA servers

A machine type is one file in `models/` and one line in `models.MODELS`. Register maps and nodes come from the
templates that the gateway reads, so the two cannot drift apart.
"""
