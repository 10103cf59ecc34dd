"""Verbs about what starts pipelines."""
