"""What looks at AWS."""
