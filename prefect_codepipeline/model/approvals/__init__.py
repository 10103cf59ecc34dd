"""Who may approve, and how an approval stands."""
