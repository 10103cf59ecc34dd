"""The providers of the category Source: one file each."""
