"""The durable buffer: records stay here, on disk, until they are confirmed."""
