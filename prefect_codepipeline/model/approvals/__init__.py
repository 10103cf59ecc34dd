"""Who may approve, and the status of an approval."""
