"""Text: corpora, and rows of token ids made of them.

- ``corpus``: a corpus by name -> its documents, its split, its packed rows
- ``packing``: the one maker of rows, in a file that grows
- ``installed_python``: the corpus "installed-python", the same on every installation
- ``token_texts``: token ids back to text, in a row and alone
- ``streams``, ``txt``, ``hub_datasets``: texts of files and of the hub's data sets, one after another
"""

from sae_utils.data.text.corpus import INSTALLED, check_corpus, documents, token_rows
from sae_utils.data.text.installed_python import installed_sha256, manifest
from sae_utils.data.text.packing import RowMaker, row_start, tokenise
from sae_utils.data.text.streams import SUFFIXES
from sae_utils.data.text.token_texts import TokenTexts

__all__ = [
    "INSTALLED",
    "RowMaker",
    "SUFFIXES",
    "TokenTexts",
    "check_corpus",
    "documents",
    "installed_sha256",
    "manifest",
    "row_start",
    "token_rows",
    "tokenise",
]
