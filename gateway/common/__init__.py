"""Small helpers without a place in the flow: files, back-off, tasks, logging."""
