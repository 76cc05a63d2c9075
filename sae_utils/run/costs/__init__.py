"""What plans cost on a machine whose speed is measured or given.

``cost``          operations, memory, disk and hours of a plan at a ``Throughput``
``throughput``    measures the machine at hand, which takes a few seconds
``dry_run``       says what a batch would run, train and cost
"""
