"""MQTT brokers of a run, who may use them, and the management plane."""
