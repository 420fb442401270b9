"""Subscriptions (Part 4, 5.13 and 5.14), and polling of points for which the server has no more monitored items.

`session_reader`   all pushed points of a session
`subscription`     publish requests, sequence numbers, republish
`monitored_items`  creates and deletes monitored items
`client_handles`   assigns client handles to points
`scan_builder`     makes scans of data changes
`polling`          reads nodes that are not subscribed to
`revisions`        differences between requested and revised parameters
"""
