"""Measure the numbers that Lineside promises: plants, processes, an own subscriber at the broker, peers, and results.

`rows.py` is the table of numbers. A row names an experiment (`experiments.py`) and one of its figures. An experiment
starts simulated machines, a broker and a product (`lineside.py`, `peers/`), and measures them from the outside:
processor time from the operating system, times from the messages at the broker. So it measures other products, and
other revisions of Lineside, in the same way.
"""
