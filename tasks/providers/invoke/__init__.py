"""The providers of the category Invoke: one file each."""
