"""What plans cost, in hours and bytes, on a machine that is measured or given.

``cost``          operations, tokens and memory of a plan
``throughput``    how fast the machine at hand is, measured in seconds
``dry_run``       what a batch would run, in words
"""
