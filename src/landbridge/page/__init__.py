"""The page of an artifact: one self-contained HTML file with its graph, memory, timeline and tables."""

from landbridge.page.make_page import make_page

__all__ = ["make_page"]
