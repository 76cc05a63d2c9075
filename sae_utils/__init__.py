"""Tools of the companion notebooks on what sparse autoencoders agree on.

Layers, each importing only from those before it: ``data`` (text to activations), ``saes`` (activations to SAEs),
``analysis`` (SAEs to numbers), ``report`` (numbers to what one reads). ``run`` turns notebooks into batches; ``pycode``
made the bundled language model.
"""

__version__ = "0.1.0"
