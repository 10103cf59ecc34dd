"""Verbs about executions: start, watch, decide, stop, look around."""
