"""A small page that greets."""

from html import escape
from pathlib import Path

__version__ = "1.4.0"


def greet(name: str) -> str:
    """Return a greeting for one person, escaped for HTML."""
    return f"Hello, {escape(name.strip() or 'world')}!"


def render(name: str, template: Path) -> str:
    """Return the page for one person."""
    return template.read_text().replace("{greeting}", greet(name)).replace("{version}", __version__)
