"""The only room that sends HTTP requests to Prefect."""

import sys

# Half of the import of httpx is libraries for its command line and for HTTP/2. Importing None fails, and httpx does
# without them, as it does where they are not installed. With HTTP/2 switched on, httpx imports its library later.
if "httpx" not in sys.modules:
    _left_out = [name for name in ("httpx._main", "h2") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(_left_out))  # type: ignore[arg-type]
    import httpcore  # noqa: F401
    import httpx  # noqa: F401

    for _name in _left_out:
        del sys.modules[_name]
