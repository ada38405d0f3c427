"""Files, locks, the cache, workers and devices: what touches the machine."""
