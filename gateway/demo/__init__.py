"""`lineside demo`: two simulated plants, tried out together, and a table that shows them."""
