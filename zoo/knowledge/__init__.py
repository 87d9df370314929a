"""Questions over a knowledge graph: the grammar of logical forms, the graph in one mapped file, and what runs a form on it."""
