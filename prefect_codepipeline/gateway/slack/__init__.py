"""The buttons and dialogs of Slack messages."""
