"""The service that people and other services reach from outside: one ASGI app, without a state of its own."""
