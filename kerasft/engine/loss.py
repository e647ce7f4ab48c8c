"""Cross-entropy over a large vocabulary without a (tokens × vocabulary) tensor.

For hidden states h (tokens, width), a frozen output embedding E (vocabulary, width),
targets t and weights w, the loss is

    Σ w_i · (logsumexp(z_i) − z_i[t_i]),   z_i = cap · tanh(h_i · Eᵀ / cap)

with the identity in place of the soft-cap where the model has none. The vocabulary of
Gemma has 262,144 words, so z is formed in chunks of tokens, and while a chunk's z is at
hand its gradient with respect to h is formed too:

    ∂/∂h_i = w_i · ((softmax(z_i) − onehot(t_i)) ⊙ (1 − (z_i / cap)²)) · E

Only that (tokens, width) gradient lives on to the backward pass. E gets none: the head
is frozen. Token accuracy comes from the same chunk. The arithmetic is that of the plain
loss: products in the type of the model, the softmax in float32.

The weights are a sum, not a mean: the step divides by the supervised tokens of the whole
accumulation window, so that 8×1, 4×2 and 1×8 rows give one and the same update.
"""

import math


def chunk_count(tokens: int, largest: int) -> int:
    """The least number of equal chunks of at most `largest` tokens.

    Args:
        tokens: rows of h; a multiple of the answer.
        largest: tokens a chunk at the most.
    """
    count = math.ceil(tokens / largest)
    while tokens % count:
        count += 1
    return count


def largest_chunk(vocabulary: int, budget_bytes: int) -> int:
    """Tokens whose float32 logits fit the budget; at least 16."""
    return max(16, budget_bytes // (4 * vocabulary))
