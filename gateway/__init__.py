"""The gateway: the way of a reading from a machine to a stored row, a package for each step.

    machine ─▶ driver ─▶ normalize ─▶ filter ─▶ spool ─▶ publish ─▶ broker ─▶ ingest ─▶ store
               scan      units, scale,  change,   durable  MQTT                decode,    rows,
               + faults  type, quality  deadband  numbered QoS 1               ack after  idempotent
                                                  bounded                      the write
                                                     ▲                            │
                                                     └──── confirmed (seq ranges) ┘

`acquisition`   reads the machines through drivers: supervised workers, schedules, discovery, metadata
`pipeline`      normalizes a scan, and removes unchanged readings (report by exception)
`spool`         holds records on disk until they are confirmed
`publish`       sends records to the broker, over the client of `mqtt`
`ingest`        writes records to `stores`, and confirms them

`workers` runs these steps in several processes that are one gateway. `metrics` shows their counts over HTTP, apart
from the flow.

`model` is the data that travels, `settings` the configuration; `codecs` and `stores` are contracts with their
implementations, `common` holds small helpers. A step imports these, and no other step: only `gateway_service.py` and
`ingest_service.py` wire them. The import contracts in pyproject.toml guard this.
"""

__version__ = "0.1.0"
