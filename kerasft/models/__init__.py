"""From a preset string to a KerasHub causal language model."""
