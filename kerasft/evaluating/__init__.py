"""The parts of `kerasft.evaluate`, each of which can be tested without a model."""
