"""The program that runs on hosts: its modules import only the standard library and one another, and run in Python 3.6."""
