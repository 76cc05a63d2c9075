"""Meta-SAEs (paper B, Leask et al. 2025, arXiv 2502.04878): the decoder rows of a dictionary written as sums of a few.

``meta_sae``  a meta-SAE: how it is trained, its codes and what they explain
``study``     all meta-SAEs of notebook 04, trained together, and their numbers with intervals over seeds
``nulls``     rows without a dictionary's structure, and rows whose parts are known
``graph``     are meta-latents the latents of a smaller SAE, and do split latents share them?
``edits``     what the language model predicts once a latent is edited by one of its meta-latents
"""
