"""`lineside demo`: the services as they are, with simulated plants, an embedded broker and an embedded store."""
