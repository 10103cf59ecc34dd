"""Releases of this package that work with one Prefect server side by side, or one after another."""
