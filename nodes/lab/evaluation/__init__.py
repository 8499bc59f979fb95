"""Policies measured: model outcomes computed once, then replayed over links in an event model.

    pairs.py        frame-prompt pairs of a data set, and readers for a few folder layouts
    outcomes.py     outcomes of both models, kept on disk by content hash
    compute_times.py   what a stage costs on this machine, measured apart
    pass_on.py      what a ground station takes with an on-board answer
    downlink.py     event model of the transfer protocol on such a line
    replay.py       event model of board, downlink and ground for one policy
    choosing.py     thresholds, chosen on validation data only
    calibration.py  confidence against correctness, beside the probabilities of the tokens
    figures.py      accuracy, intervals, separation
    run.py          what `python -m nodes.lab.evaluation job.json` does; the job: nodes/contract/evaluation.py

`spaceverse eval` makes the traces, writes the job, starts this package as a program, and draws its results.
"""
