"""What a pipeline says, as its definition spells it."""
