"""Parts: where a serial number was seen, out of the stores, and which parts are in work now."""
