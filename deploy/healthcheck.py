"""The image's HEALTHCHECK: ask the part that runs in this container, by its metrics port or as Prefect's server."""

import os
import sys
import urllib.request

of_part = ("PREFECT_CODEPIPELINE_METRICS_HOST", "PREFECT_CODEPIPELINE_METRICS_PORT", "/health")
of_server = ("PREFECT_SERVER_API_HOST", "PREFECT_SERVER_API_PORT", "/api/health")
host, port, path = of_part if of_part[1] in os.environ else of_server
address = os.environ.get(host, "").replace("0.0.0.0", "") or "127.0.0.1"
url = f"http://{address}:{os.environ.get(port, '4200')}{path}"
try:
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5).close()
except OSError as error:
    sys.exit(f"{url}: {error}")
