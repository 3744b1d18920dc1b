"""How the vectors of a model lie in space, and a map of them."""

from embedft.evaluation.geometry.clouds import Cloud, cloud_of
from embedft.evaluation.geometry.describe import geometry, geometry_of
from embedft.evaluation.geometry.measures import alignment, anisotropy, hubness, spectrum, uniformity
from embedft.evaluation.geometry.projection import Method, project, require_method

__all__ = [
    "Cloud",
    "Method",
    "alignment",
    "anisotropy",
    "cloud_of",
    "geometry",
    "geometry_of",
    "hubness",
    "project",
    "require_method",
    "spectrum",
    "uniformity",
]
