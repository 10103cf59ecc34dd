"""Commands that users configure, on the worker and on hosts."""
