"""The gateway: the way of a reading from a machine to a stored row, a file a step.

    machine ─▶ driver ─▶ normalize ─▶ filter ─▶ spool ─▶ publish ─▶ broker ─▶ ingest ─▶ store
               scan      units, scale,  change,   durable  MQTT                decode,    rows,
               + faults  type, quality  deadband  numbered QoS 1               ack after  idempotent
                                                  bounded                      the write
                                                     ▲                            │
                                                     └──── confirmed (seq ranges) ┘

The steps import `model` and the contracts (`drivers.base`, `codecs.base`, `stores.base`), never each other;
`app.py` and `app_ingest.py` alone wire them together.
"""

__version__ = "0.1.0"
