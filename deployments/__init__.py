"""From a definition to something Prefect runs, and the processes that run it."""
