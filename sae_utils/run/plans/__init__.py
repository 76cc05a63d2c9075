"""What a notebook trains, as data: the notebook trains from it, a dry run costs it, shards divide it.

``plan``            a plan: cells, searches for the coefficient that gives an L0, meta-SAEs, and what all of them read
``of_notebooks``    makes each notebook's plan from its parameters
``known_truth``     the cells of notebook 10's worlds    ``reproducible``   those of notebook 11's methods
``model_facts``     sizes of language models, without loading them
"""

from sae_utils.run.plans.of_notebooks import plan_of, seed_part
from sae_utils.run.plans.plan import Plan, Search, open_plan

__all__ = ["Plan", "Search", "open_plan", "plan_of", "seed_part"]
