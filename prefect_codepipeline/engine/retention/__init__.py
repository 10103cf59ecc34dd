"""What is kept, and for how long: executions, what they have in artifact stores, and the caches of machines."""
