"""Text to activations: language models, corpora, activation caches and streams."""
