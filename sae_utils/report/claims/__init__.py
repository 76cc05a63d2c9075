"""The papers' claims: what they say, what a run says of them, and the page that has both.

``entries``    ``notebooks/claims.yaml``, checked, and the words for its numbers and rules
``verdicts``   a verdict for each claim from a run's intervals; the table at the end of a notebook
``page``       all claims on one page, in Markdown
"""

from sae_utils.report.claims.entries import CLAIMS, Claim, load_claims
from sae_utils.report.claims.page import claims_page

# Not from verdicts, which loads pandas: a batch imports this package.
__all__ = ["CLAIMS", "Claim", "claims_page", "load_claims"]
