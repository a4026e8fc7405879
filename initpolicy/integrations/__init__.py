"""Thin adapters to other libraries; each module imports its own."""
