"""The worker, and the fork server for its flow runs."""
