"""A preset on a SLURM cluster.

``resources``   partition, hours, memory, GPUs and shards of its tasks, from a YAML file or by default
``slurm``       submits the tasks, tells their status, cancels them; submitted again, they go on
"""
