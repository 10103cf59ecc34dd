"""Bills of materials, and what Amazon Inspector finds in them."""
