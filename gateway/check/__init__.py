"""`lineside check`: reads every point of real or simulated machines, and reports suspicious readings."""
