"""OPC UA Binary (Part 6): bytes to values, and requests to bytes."""
