"""Historical values that fill the gap of an outage (Part 11).

`backfill`      gaps, and their order
`history_read`  reads raw values of one node
"""
