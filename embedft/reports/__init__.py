"""Pages that people read: one HTML file each, with nothing to load from elsewhere."""

from embedft.reports.data import data_page

__all__ = ["data_page"]
