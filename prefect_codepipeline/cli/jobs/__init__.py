"""Commands for jobs of custom actions."""
