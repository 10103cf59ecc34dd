"""Artifacts: trees of files, stored by their content."""
