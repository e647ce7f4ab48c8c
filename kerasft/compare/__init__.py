"""Runs of different engines beside each other, once they are shown to have done the same work."""
