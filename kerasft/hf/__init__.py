"""Training on transformers + PEFT. Needs the extra `hf`; never imports Keras."""
