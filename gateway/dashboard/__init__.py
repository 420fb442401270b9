"""The page: a plant seen in a browser, in a process of its own.

    broker ─▶ live (listener, plant, machine, alarms, journal) ─▶ feeds ─▶ socket ─▶ browser
    stores ─▶ trends, alarms, production, parts ─────────────────▶ app ──▶ browser

`live`      the content of the broker's messages: newest readings, states, reports, events; bounded
`feeds`     the content of a view: all changes since the last message to its page
`socket`    the WebSocket of a page: its subscriptions, and one message for all that changed
`trends`    readings over time; `alarms`, `production`, `parts` the history of each, through `stored`
`actions`   who may act on the page, and the record of each action
`texts`     the languages of the page
`app`       the routes; each view of the page is a module in `static/js/views/`
`service`   the wiring: brokers, stores, server

The page listens as a guest (QoS 0, no session) and reads stores: it can't delay a gateway or an ingest.
"""
