"""Events and alarms (Part 5, 6.4; Part 9).

`alarms`         subscribes to event notifiers, and makes readings of events
`events`         selected fields, and the JSON text of an event
`active_alarms`  alarms that ended during an outage
"""
