"""Look up: runs by id, name of a model or dataset; what data trained a model; which models a dataset trained."""
