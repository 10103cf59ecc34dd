"""Buildspecs, and what the builds of one say."""
