"""Losses and gradients of the five architectures written down once more, plainly: one member at a time, all dense.

Nothing here comes from ``sae_utils``. The gradients are autograd's, but for JumpReLU: those are written by hand from
equations 11 and 12 of Rajamanoharan et al. 2024b.
"""

import torch


def loss_and_gradients(config, parameters, x, dead=None):
    """``parameters`` by name, [S, ...] each; returns (loss [S], gradients by name of the losses' sum)."""
    losses, gradients = [], []
    for s in range(len(parameters["encoder"])):
        p = {name: t[s].detach().clone().requires_grad_() for name, t in parameters.items()}
        if config.architecture == "jump_relu":
            loss, grad, x_hat = _jump_relu(config, p, x)
        else:
            loss, x_hat = _main_loss(config, p, x)
            grad = dict(zip(p, torch.autograd.grad(loss, list(p.values()), retain_graph=True), strict=True))
        if config.auxk is not None:
            revival = config.auxk_coefficient * _auxk(config, p, x, x_hat.detach(), dead[s]) / _variance(x)
            loss = loss + revival
            extra = torch.autograd.grad(revival, list(p.values()), allow_unused=True, materialize_grads=True)
            grad = {name: grad[name] + g for name, g in zip(p, extra, strict=True)}
        losses.append(loss.detach())
        gradients.append(grad)
    return torch.stack(losses), {name: torch.stack([g[name] for g in gradients]) for name in parameters}


def largest(values, k):
    """1 at the k largest of a vector, 0 elsewhere."""
    mask = torch.zeros_like(values)
    mask[values.argsort(descending=True)[:k]] = 1
    return mask


def _variance(x):
    return ((x - x.mean(0)) ** 2).sum()


def _main_loss(config, p, x):
    pre = (x - p["b_dec"]) @ p["encoder"].T + p["b_enc"]
    norms = torch.ones(len(pre.T), dtype=x.dtype)
    if not config.unit_norm_decoder:
        norms = (p["W_dec"] ** 2).sum(1).sqrt()
    extra = 0.0
    if config.architecture == "relu":
        z = pre.clamp_min(0)
        extra = config.sparsity * (z * norms).sum()
    elif config.architecture == "gated":
        magnitude = (x - p["b_dec"]) @ (p["encoder"] * p["r_mag"].exp()[:, None]).T + p["b_mag"]
        z = (pre > 0).to(x.dtype) * magnitude.clamp_min(0)
        gate = pre.clamp_min(0)
        alone = gate @ p["W_dec"].detach() + p["b_dec"].detach()
        extra = config.sparsity * (gate * norms).sum() + ((x - alone) ** 2).sum()
    elif config.architecture == "topk":
        z = pre.clamp_min(0) * torch.stack([largest(row.detach(), config.k) for row in pre])
    elif config.architecture == "batch_topk":
        z = pre.clamp_min(0) * largest(pre.detach().flatten(), config.k * len(x)).view(pre.shape)
    x_hat = z @ p["W_dec"] + p["b_dec"]
    return (((x - x_hat) ** 2).sum() + extra) / _variance(x), x_hat


def _jump_relu(config, p, x):
    """By hand: H is the step function and K the rectangle kernel, in units of the bandwidth."""
    p = {name: t.detach() for name, t in p.items()}
    threshold, width = p["log_threshold"].exp(), config.bandwidth
    pre = (x - p["b_dec"]) @ p["encoder"].T + p["b_enc"]
    H = (pre > threshold).to(x.dtype)
    K = ((pre - threshold).abs() / width < 0.5).to(x.dtype)
    z = pre * H
    x_hat = z @ p["W_dec"] + p["b_dec"]
    variance = _variance(x)
    loss = (((x - x_hat) ** 2).sum() + config.sparsity * H.sum()) / variance
    d_x_hat = 2 * (x_hat - x) / variance
    d_z = d_x_hat @ p["W_dec"].T
    d_pre = d_z * H
    d_threshold = (-(threshold / width) * K * d_z - config.sparsity / variance * K / width).sum(0)
    gradients = {
        "encoder": d_pre.T @ (x - p["b_dec"]),
        "W_dec": z.T @ d_x_hat,
        "b_enc": d_pre.sum(0),
        "b_dec": d_x_hat.sum(0) - (d_pre @ p["encoder"]).sum(0),
        "log_threshold": d_threshold * threshold,
    }
    return loss, gradients, x_hat


def _auxk(config, p, x, x_hat, dead):
    """Squared error of the residual's reconstruction by the largest dead latents; 0 without any."""
    n_dead = int(dead.sum())
    if n_dead == 0:
        return 0 * p["encoder"].sum()
    pre = (x - p["b_dec"]) @ p["encoder"].T + p["b_enc"]
    alive_last = pre.detach().masked_fill(~dead, -torch.inf)
    mask = torch.stack([largest(row, min(config.auxk, n_dead)) for row in alive_last])
    return ((x - x_hat - (pre.clamp_min(0) * mask) @ p["W_dec"]) ** 2).sum()
