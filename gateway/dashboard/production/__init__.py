"""Production out of the stores: the time in each state, the parts that were made, and how long a cycle took."""
