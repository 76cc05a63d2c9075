"""The papers' claims: what they say, what a run says of them, and the page that has both.

``entries``    ``notebooks/claims.yaml``, checked, and the words for its numbers and rules
``verdicts``   a verdict for each claim from a run's intervals; the table at the end of a notebook
``findings``   those verdicts and the published ones beside each other, in a notebook
``family``     what Holm's correction and other places leave of a paper's verdicts
``page``       all claims on one page, in Markdown
``changed``    the claims whose verdict changed, on another
"""

from sae_utils.report.claims.changed import changed_page
from sae_utils.report.claims.entries import CLAIMS, Claim, hash_of_rules, load_claims, rules_of
from sae_utils.report.claims.page import claims_page

# Not from verdicts, which loads pandas: a batch imports this package.
__all__ = ["CLAIMS", "Claim", "changed_page", "claims_page", "hash_of_rules", "load_claims", "rules_of"]
