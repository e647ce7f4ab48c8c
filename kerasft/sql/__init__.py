"""Running model-written SQL behind a wall, and judging what it returned."""
