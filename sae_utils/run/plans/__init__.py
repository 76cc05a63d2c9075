"""What a notebook trains, as data: the notebook trains from it, a dry run costs it, shards divide it.

``plan``            cells, searches for a sparsity, meta-SAEs, and the text and activations they read
``of_notebooks``    the plan of each notebook from its parameters
``known_truth``, ``reproducible``   what notebooks 10 and 11 train, whose plans are longer
``model_facts``     sizes of language models, without their weights
"""

from sae_utils.run.plans.of_notebooks import plan_of, seed_part
from sae_utils.run.plans.plan import Plan, Search, open_plan

__all__ = ["Plan", "Search", "open_plan", "plan_of", "seed_part"]
