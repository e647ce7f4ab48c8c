"""What both the step and its memory estimate must know of attention."""

SHORT_ROWS = 512
"""Tokens up to which torch on a CPU writes attention out and keeps the weights of every pair
of tokens for the backward pass: twice as fast there as its own fused attention, whose
backward pass took 12 ms a block of the 270M at 256 tokens."""
