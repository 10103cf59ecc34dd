"""Build the site: `python3 -m hello.build FOLDER`."""

import sys
from pathlib import Path

from hello import render

HERE = Path(__file__).resolve().parent.parent


def build(folder: Path) -> None:
    """Write the page and its style into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.html").write_text(render("world", HERE / "site" / "index.html"))
    (folder / "style.css").write_text((HERE / "site" / "style.css").read_text())
    print(f"built {len(list(folder.iterdir()))} files in {folder.name}/")


if __name__ == "__main__":
    build(Path(sys.argv[1]))
