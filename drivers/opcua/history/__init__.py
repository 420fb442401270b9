"""Historical values that fill the gap of an outage (Part 11)."""
