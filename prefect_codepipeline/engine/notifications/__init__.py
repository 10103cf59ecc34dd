"""Send the status of an execution to Slack, URLs, git hosts and Prefect."""
