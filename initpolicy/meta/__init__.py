"""From tensors without memory to a model that runs: what holds none, where its values come from, how it gets them."""
