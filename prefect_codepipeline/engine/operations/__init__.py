"""AWS's verbs: start, stop, retry, roll back, override."""
