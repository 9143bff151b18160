"""Other places that are told of a run."""
