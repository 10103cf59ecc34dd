"""Turn definitions into Prefect deployments, and provide the processes that run them."""
