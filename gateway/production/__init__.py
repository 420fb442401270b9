"""Production across machines: reports of shifts out of stored rows, and the flow of parts through a line."""
