"""One session with one server: secure channel, limits, keep-alive, and taking over a session that was cut off."""
