"""Pool runs: an action on a work pool of its own is a Prefect flow run there, for which its execution waits."""
