"""The reports that builds write."""
