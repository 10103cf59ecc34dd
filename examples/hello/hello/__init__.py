"""A small page that greets."""

from html import escape
from pathlib import Path

__version__ = "1.4.0"


def greet(name: str) -> str:
    """A greeting for one person, fit for a page."""
    return f"Hello, {escape(name.strip() or 'world')}!"


def render(name: str, template: Path) -> str:
    """The page for one person."""
    return template.read_text().replace("{greeting}", greet(name)).replace("{version}", __version__)
