"""Programs that load an exported folder as its users do, and answer the probes.

    python -m kerasft.export.readers.NAME FOLDER SCRATCH

Each runs in a process of its own and owes nothing to the code that wrote the folder.
SCRATCH holds the questions:

- `asked.json`: `logits` (false: no weights are loaded, and only what the folder's
  tokenizer and settings tell is answered), `compute_dtype`, `backend` (of a reader that
  uses Keras), `prompts` (token ids), `max_new_tokens`, `texts`, `message`, and `base`
  (the untouched base as a Hugging Face folder, or null; for adapters);
- `rows.npz`: `row_N` int32 (length,) and `positions_N` int64, where logits are wanted.

and gets the answers:

- `logits.npz`: `logits_N` float32 (positions, vocabulary), where logits are wanted;
- `answered.json`: `loading` (names by `missing_keys`, `unexpected_keys` and
  `mismatched_keys`), `architecture`, `eos_token_ids` (null if the format does not say),
  `continuations` (token ids of greedy continuations under the folder's own stop ids),
  `texts` (ids of each text without special tokens), `framed` (ids of the first text as
  a user encodes it; null if the format has no tokenizer), `chat` (ids of the message as
  one user's turn; null if the format has no template), `keras_imported`, `versions`.

`texts` is null too where the format has no tokenizer.
"""
