"""The base job templates of work pools."""
