"""Where an evaluation computes: in this process, in processes beside it, on Ray or on Slurm.

    executor.py     what all of them can do: `map`, as in `concurrent.futures`; this process
    processes.py    processes of this machine
    ray_cluster.py  actors on the machines of a Ray cluster; the only module that imports Ray
    slurm.py        jobs of Slurm, by submitit; the only module that imports it
    tasks.py        what a worker does: outcomes of both models, cells
    choice.py       the workers of a job

Results do not depend on the workers: each task is a function of its arguments and of models that are compared
by checksum.
"""
