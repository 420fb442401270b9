"""Store records on disk until they are confirmed."""
