"""How executions and definitions are shown."""
