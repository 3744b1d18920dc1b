"""Search of settings: the space, the study, its trials as processes, its directory."""
