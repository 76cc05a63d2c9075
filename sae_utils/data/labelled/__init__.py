"""Texts with labels, for probes and for what latents stand for.

``windows``          windows of text on two sides that share no file; balanced tasks, combinations of two labels
``datasets``         windows of any text classification data set
``python_concepts``  windows of held-out Python source, labelled by ast
``python_roles``     the syntactic role of each token of packed rows of Python source
"""

from sae_utils.data.labelled.datasets import text_windows
from sae_utils.data.labelled.python_concepts import TASKS, source_windows
from sae_utils.data.labelled.python_roles import ROLES, row_roles
from sae_utils.data.labelled.windows import LabelledWindows, Quadrants, Task, balanced_tasks, quadrants, used_rows

__all__ = [
    "ROLES",
    "TASKS",
    "LabelledWindows",
    "Quadrants",
    "Task",
    "balanced_tasks",
    "quadrants",
    "row_roles",
    "source_windows",
    "text_windows",
    "used_rows",
]
