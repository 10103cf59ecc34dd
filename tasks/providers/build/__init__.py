"""The providers of the categories Build, Compute and Test: one file each."""
