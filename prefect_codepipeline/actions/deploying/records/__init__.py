"""What Prefect keeps of deployments to hosts: the record of each, the state of each group, and its lock."""
