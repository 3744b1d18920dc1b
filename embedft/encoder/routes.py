"""Encoders whose queries and documents are encoded by different modules, as sentence-transformers' Router holds them.

On disk such a folder has one module, the Router; ``router_config.json`` lists the modules of each route, and a module
that both routes use is stored once. Two kinds are written here, both by query-only tuning: one transformer with a
layer more behind the queries, and two transformers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedft.encoder.head import output_dim
from embedft.encoder.parts import Listing, Parts, kind_of, listed_modules, parts_of, read_head, read_json, read_parts

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

ROUTER = "Router"
DOCUMENT, QUERY = "document", "query"


@dataclass(frozen=True)
class Sides:
    """What encodes documents, and what encodes queries where that is something else."""

    document: Parts
    query: Parts | None = None


def read_sides(folder: Path) -> Sides | None:
    """The sides of a sentence-transformers folder; None where it takes sentence-transformers to open it.

    Raises:
        OSError, ValueError, KeyError, Exception: as `read_parts`.
    """
    listings = _listings(folder)
    if listings is None:
        parts = read_parts(folder)
        return None if parts is None else Sides(parts)
    document = read_parts(folder, listings[DOCUMENT]) if listings.keys() == {DOCUMENT, QUERY} else None
    if document is None or document.architecture is None:
        return None
    if listings[QUERY][:1] != listings[DOCUMENT][:1]:
        query = read_parts(folder, listings[QUERY])
    else:
        head = read_head(listings[QUERY][1:])
        dim = output_dim(document.architecture.hidden, head or ())
        query = None if head is None else replace(document, head=head, dim=dim)
    return None if query is None else Sides(document, query)


def sides_of(document: SentenceTransformer, query: SentenceTransformer | None) -> Sides:
    """The sides of sentence-transformers' modules; weights are shared, not copied, where they are in fp32."""
    return Sides(parts_of(document), None if query is None else parts_of(query))


def is_routed(model: SentenceTransformer) -> bool:
    """Whether the first module is a Router."""
    return type(model[0]).__name__ == ROUTER


def models_of(model: SentenceTransformer) -> tuple[SentenceTransformer, SentenceTransformer | None]:
    """The modules of documents and those of queries, each as a model of its own that shares the weights.

    A model without a Router is the documents' own, and None is given for the queries.
    """
    if not is_routed(model):
        return model, None
    router, *rest = model
    document, query = (
        _model([*router.sub_modules[route], *rest], prompts=model.prompts, device=str(model.device))
        for route in (DOCUMENT, QUERY)
    )
    return document, query


def joined(document: SentenceTransformer, query: SentenceTransformer) -> SentenceTransformer:
    """One model with a route for documents, the default, and one for queries; the weights are shared.

    Documents come first, so that a transformer of both is stored under their name.
    """
    from sentence_transformers.base.modules import Router

    router = Router({DOCUMENT: list(document), QUERY: list(query)}, default_route=DOCUMENT)
    return _model([router], prompts=document.prompts, device=str(document.device))


def with_layer(model: SentenceTransformer, weight: torch.Tensor) -> SentenceTransformer:
    """The model with ``weight @ x`` behind its unit vectors x, normalised again; everything else is shared.

    Args:
        model: without a Router.
        weight: (dim, dim).
    """
    from sentence_transformers.base.modules import Dense, Normalize
    from torch.nn import Identity

    size = len(weight)
    dense = Dense(size, size, bias=False, activation_function=Identity(), init_weight=weight.detach().clone())
    own = list(model)
    if type(own[-1]).__name__ != "Normalize":
        own.append(Normalize())
    return _model([*own, dense, Normalize()], prompts=model.prompts, device=str(model.device))


def _model(modules: list[Any], *, prompts: dict[str, str], device: str) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(modules=modules, prompts=dict(prompts), device=device)


def _listings(folder: Path) -> dict[str, Listing] | None:
    """The modules of each route, with those that follow the Router; None where there is none.

    A Router that also chooses by the kind of its input has a route for each, and none of them is given.
    """
    modules = listed_modules(folder)
    if not modules or kind_of(modules[0][0]) != ROUTER:
        return None
    root = modules[0][1]
    config = read_json(root / "router_config.json", {"parameters": {"route_mappings": True}})
    if config["parameters"].get("route_mappings"):
        return {}
    return {
        route: [*((str(config["types"][name]), root / name) for name in names), *modules[1:]]
        for route, names in config["structure"].items()
    }
