"""The only room that sends HTTP requests to Prefect."""

import sys

# httpx contains a command line, whose libraries take most of its import. Importing None fails, and httpx does without it.
if "httpx" not in sys.modules:
    sys.modules["httpx._main"] = None  # type: ignore[assignment]
    import httpx  # noqa: F401

    del sys.modules["httpx._main"]
