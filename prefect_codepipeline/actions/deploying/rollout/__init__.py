"""A deployment to hosts: one look after the other moves it on, in whatever process, until it has ended."""
