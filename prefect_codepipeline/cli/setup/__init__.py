"""Verbs about what pipelines need: blocks, the gateway, the embedded Prefect."""
