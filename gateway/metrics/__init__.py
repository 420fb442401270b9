"""Metrics and health of the two services over HTTP, for Prometheus and watchdogs. Apart from the flow.

    definitions    every metric: name, kind, labels, meaning
    samples        the values of metrics at one time
    gateway_metrics, ingest_metrics, process_metrics    make samples of the counters that the services have anyway
    exposition     samples as text: Prometheus or OpenMetrics
    health         alive and ready, with reasons
    http_server    a bounded HTTP server in a thread of its own
    endpoint       the paths `/metrics`, `/healthz` and `/readyz`

Values are read when somebody asks for them, in the event loop of the service, some machines at a time. The text is
made in the thread of the server. Nothing is counted a second time for metrics.
"""
