"""Evaluation of policies: model outcomes are computed once, then replayed over links in an event model.

    outcomes.py         outcomes of both models, cached on disk by content hash
    workers/            where outcomes and cells are computed: here, in processes, on Ray, on Slurm
    compute_times.py    time of each processing stage on this machine
    reporting_time.py   time a ground station takes to handle an on-board answer
    event_model/        event model of board, downlink and ground
    evaluated_pairs.py  frame-prompt pairs with outcomes and compute times
    cells.py            one policy over the links of one case
    dealing.py          which frame is captured when
    selection.py        thresholds and heads, selected on validation data only
    tuning.py           parameters of a user's policy, selected likewise
    calibration.py      confidence against correctness
    figures.py          accuracy, intervals, separation
    results/            figures of each policy, paired comparisons, places of frames that overlap
    run.py              the program; its job file is declared in nodes/contract/evaluation.py

`spaceverse eval` makes the traces, writes the job, starts this package as a program, and plots its results.
"""
