"""The page that shows what is to be approved, and takes the answer."""
