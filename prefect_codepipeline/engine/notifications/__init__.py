"""Tell others how an execution stands: Slack, URLs, git hosts, Prefect."""
