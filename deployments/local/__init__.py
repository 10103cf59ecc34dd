"""The embedded set-up: a database, a Prefect server, a worker and the reconcile loop on this machine, for one user."""
