"""A preset on a SLURM cluster.

``settings``    what its tasks ask for, from a YAML file
``slurm``       tasks: submitted, resumed, their status, cancelled
"""
