"""`lineside check`: does every point read, of the real machines or of simulated ones; and what is odd about it."""
