"""`python -m simulators`: serve a configuration's machines, with all that can be asked of a simulation."""

from simulators.command import simulate

simulate()
