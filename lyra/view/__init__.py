"""The viewer: one self-contained HTML page for scenes that stand still or move, and a local server for it."""

from lyra.view.page import build, save_html
from lyra.view.server import serve

__all__ = ["build", "save_html", "serve"]
