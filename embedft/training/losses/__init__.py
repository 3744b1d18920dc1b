"""What is minimised: the registry of losses, their functions of vectors, masks, guides, gathering, gradient cache."""
