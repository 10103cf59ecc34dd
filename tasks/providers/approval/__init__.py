"""The providers of the category Approval: one file each."""
