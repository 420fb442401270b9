"""Receive records from the broker, write them to the stores, and confirm them to the gateways."""
