"""Read the machines: devices, their supervised workers, schedules, discovery of points, and metadata."""
