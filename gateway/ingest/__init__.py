"""Takes records off the broker, writes them to the stores, and confirms them to the gateways."""
