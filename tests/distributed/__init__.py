"""Sharded parameters in real processes: gloo on the loopback, a launch for each world size."""
