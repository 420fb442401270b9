"""MQTT: the client, its session with the broker, TLS, topics, and the messages that come in."""
