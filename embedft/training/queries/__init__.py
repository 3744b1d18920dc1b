"""Training of the query side alone: an adapter or a tower, against stored vectors of documents."""
