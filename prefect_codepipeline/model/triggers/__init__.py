"""The triggers of pipelines: events of git hosts, webhooks, schedules."""
