"""The providers of the category Deploy: one file each."""
