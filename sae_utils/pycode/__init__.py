"""How the bundled language model pycode-2m was made, and what it is worth; notebooks 01 to 09 need none of it.

``build``         the command that makes the model from nothing
``pretraining``   its tokenizer, batches, loss, schedule and checkpoints
``evaluation``    what it does with held-out text (notebook 00)
``ngrams``        what it has to beat: n-gram models and a compressor
``card``          the command that measures it and writes its model card, from ``card.md``
"""
