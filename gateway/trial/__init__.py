"""Factories tried out on this machine: the services as they are, simulated machines, an embedded broker and store.

`lineside demo`, `lineside check --simulated` and the pytest plugin are made of it.
"""
