"""One LoRA step beside its peers: every contender in a process of its own, one table."""
