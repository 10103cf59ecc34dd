"""Orchestration only: what runs after what, and who waits for whom."""
