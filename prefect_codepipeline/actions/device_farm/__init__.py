"""Uploads, runs and results of AWS Device Farm."""
