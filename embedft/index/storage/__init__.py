"""The index on disk: versions, documents, and the fields that filters ask for."""

from embedft.index.storage.checksums import Problem
from embedft.index.storage.documents import Documents
from embedft.index.storage.filters import Filter, mask, parse, parse_all
from embedft.index.storage.store import (
    Hold,
    Staged,
    building_folder,
    new_version,
    require_writable,
    rollback,
    versions,
    writing,
)
from embedft.index.storage.verify import Version, check_files, is_index, open_version

__all__ = [
    "Documents",
    "Filter",
    "Hold",
    "Problem",
    "Staged",
    "Version",
    "building_folder",
    "check_files",
    "is_index",
    "mask",
    "new_version",
    "open_version",
    "parse",
    "parse_all",
    "require_writable",
    "rollback",
    "versions",
    "writing",
]
