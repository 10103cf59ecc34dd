"""What an action or a rule may use; it knows no execution, no gate and no flow."""
