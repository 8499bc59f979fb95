"""Trains the small pair that ships with the project: `python -m nodes.lab.training --help`.

    frames.py, practice.py                    draw what is learnt from
    turns.py, looks.py, targets.py, gaze.py   what is shown of it, and what is to be learnt
    packing.py, page.py, ahead.py             one step's tensors, made while the step before computes
    architecture.py, vocabulary.py, word_tokenizer.py, waves.py   the models
    even_tower.py, train.py                   how they learn
    evaluate.py, measure.py, card.py          what is measured, and the cards

The pair stands in for models of the paper's class (2B on board, 7B on the ground) so that everything runs
with nothing to download. It is no substitute for them in a result about them.
"""
