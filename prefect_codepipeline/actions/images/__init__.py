"""Images that actions build and push."""
