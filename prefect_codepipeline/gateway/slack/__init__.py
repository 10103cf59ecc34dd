"""What people press in Slack."""
