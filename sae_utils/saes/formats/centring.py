"""SAEs trained on centred residual streams, read on streams that keep their mean.

TransformerLens's ``center_writing_weights`` takes the mean over its dimensions away from each residual stream, which a
LayerNorm after it does not notice. Models here are loaded without it; an SAE that was trained with it (the GPT-2
feature-splitting family) would see a direction that it never saw.
"""

import torch

from sae_utils.saes.sae import SAE


@torch.no_grad()
def centred(sae: SAE) -> SAE:
    """A copy that gives x the code which ``sae`` gives x less the mean over its dimensions; twice is as good as once.

    Only the encoder can take that up: reconstructions stay centred, so compare them with centred activations.
    """
    out = SAE(sae.config, sae.seeds, sae.hook_point, sae.normalisation).to(sae.W_dec)
    out.load_state_dict(sae.state_dict())
    out.encoder.sub_(out.encoder.mean(-1, keepdim=True))
    # With P the projection, m the mean and s the scale, ((P x - m) s - b_dec) w is
    # ((x - m) s - b_dec) P w + (P m - m) s w + b_dec (P w - w), and P m - m is the mean of m, taken away, everywhere.
    shift = -sae.mean.mean() * sae.scale * sae.encoder.sum(-1)
    shift += torch.einsum("snd,sd->sn", out.encoder - sae.encoder, sae.b_dec)
    out.b_enc.add_(shift)
    if sae.config.architecture == "gated":
        out.b_mag.add_(shift * sae.r_mag.exp())
    return out
