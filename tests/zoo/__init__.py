"""Models of timm and transformers, and what is right for their weights."""
