"""Simulated machines: process models, lines, faults, and Modbus and OPC UA servers.

    machines/models ─▶ machines/line ─▶ machines/plant ─▶ modbus/ and opcua/ ─▶ the gateway
    (process, PackML)  (flow of parts)  (values by point)   (servers)

    faults/  changes values and answers     truth  logs every value, to compare a store with

A machine type is one file in `machines/models/` and one line in its table `MODELS`. Register maps and nodes are built
from the templates that the gateway reads, so both always agree.
"""
