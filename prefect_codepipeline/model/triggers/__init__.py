"""What starts pipelines: events of git hosts, webhooks, schedules."""
