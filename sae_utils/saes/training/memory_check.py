"""Whether a training fits into its device's memory, said before it starts."""

import logging
from collections.abc import Sequence

from sae_utils.data.activations.source import ActivationSource
from sae_utils.device_memory import free_memory
from sae_utils.memory import MemoryPlan, check_fits, human, training_plan
from sae_utils.saes.sae import SAE
from sae_utils.saes.training.training import TrainingConfig

log = logging.getLogger(__name__)


def plan_training(stacks: Sequence[SAE], source: ActivationSource, config: TrainingConfig) -> MemoryPlan:
    """What training ``stacks`` together needs on their device, with what ``source`` needs there."""
    device = stacks[0].W_dec.device
    plan = source.memory(device)
    for sae in stacks:
        c = sae.config
        shape = sae.n_dictionaries, c.d_in, c.n_latents, config.batch_size
        plan += training_plan(*shape, c.architecture, c.k, c.auxk, device.type)
    return plan


def check_memory(stacks: Sequence[SAE], source: ActivationSource, config: TrainingConfig) -> None:
    """Log the plan in one line; raises InputError where it cannot fit beside what is on the device already."""
    plan, device = plan_training(stacks, source, config), stacks[0].W_dec.device
    free = free_memory(device)
    log.info("training needs %s; %s has %s free", plan, device, "an unknown amount" if free is None else human(free))
    if free is not None:
        check_fits(plan, free, str(device), present=plan.dictionaries + plan.model)
