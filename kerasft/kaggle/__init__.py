"""Notebooks that run a recipe on Kaggle or Colab, and pushing them to Kaggle."""
