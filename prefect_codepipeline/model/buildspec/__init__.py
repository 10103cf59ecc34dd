"""Buildspecs, and the reports of their builds."""
