"""Configuration and credentials that people store in Prefect."""
