"""Build the site: `python3 -m hello.build FOLDER COMMIT`."""

import json
import sys
from pathlib import Path

from hello import __version__, render

HERE = Path(__file__).resolve().parent.parent


def build(folder: Path, commit: str) -> None:
    """Write the page, its style, and what it was built from into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.html").write_text(render("world", HERE / "site" / "index.html"))
    (folder / "style.css").write_text((HERE / "site" / "style.css").read_text())
    (folder / "release.json").write_text(json.dumps({"version": __version__, "commit": commit}) + "\n")
    print(f"built {len(list(folder.iterdir()))} files in {folder.name}/")


if __name__ == "__main__":
    build(Path(sys.argv[1]), sys.argv[2])
