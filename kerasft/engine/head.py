"""The output embedding of a KerasHub causal LM."""

from typing import Any

import keras


class Head:
    """Where the logits come from: a frozen matrix and perhaps a soft-cap.

    Attributes:
        variable: the input embedding where it is tied, else the output's.
        tied: whether it is the input embedding.
        soft_cap: of the final logits, or None.
        vocabulary: words.
    """

    def __init__(self, backbone: keras.Model) -> None:
        embedding = backbone.token_embedding
        self.tied = bool(embedding.tie_weights)
        self.variable = embedding.embeddings if self.tied else embedding.reverse_embeddings
        self.soft_cap = getattr(embedding, "logit_soft_cap", None)
        self.vocabulary = embedding.input_dim

    def matrix(self, value: Any) -> Any:
        """(vocabulary, width) from the variable's value, as a view.

        KerasHub keeps an untied output embedding as (width, vocabulary).
        """
        return value if self.tied else value.T

    def logits(self, hidden: Any) -> Any:
        """Float32 logits of hidden states (…, width), as the model itself gives them."""
        ops = keras.ops
        matrix = self.matrix(ops.convert_to_tensor(self.variable))
        logits = ops.cast(ops.matmul(hidden, ops.transpose(matrix)), "float32")
        if self.soft_cap:
            logits = self.soft_cap * ops.tanh(logits / self.soft_cap)
        return logits
