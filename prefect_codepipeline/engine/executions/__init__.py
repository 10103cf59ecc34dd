"""Executions, their records, and the gates of their stages."""
