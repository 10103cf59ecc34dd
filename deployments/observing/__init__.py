"""What watches worker, gateway and reconcile from outside: `/health` and `/metrics`."""
