"""Verbs about definitions: check, plan, deploy, import, export, draw."""
