"""Pages that people read: one HTML file each, with nothing to load from elsewhere."""

from embedft.reports.data import data_page
from embedft.reports.page import PAGE_BEGIN
from embedft.reports.tuning import tuning_page

__all__ = ["PAGE_BEGIN", "data_page", "tuning_page"]
