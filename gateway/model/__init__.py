"""What travels: paths, readings, records, metadata, and the ledger. No I/O; every package may import it."""
