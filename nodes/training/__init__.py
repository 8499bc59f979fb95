"""Trains the small pair that ships with the project: `python -m nodes.training --help`.

    sources.py    fetches the packages that carry real imagery, opens their rasters
    places.py     which longitudes are for training and which for testing, and where frames lie
    scene.py      cuts a frame and its land cover out of the rasters
    vessels.py    composites bright vessels and islets on open water
    questions.py  asks about a scene, with truth from the land-cover map
    architecture.py, word_tokenizer.py, packing.py, train.py   the models and how they learn
    evaluate.py, card.py, first_light.py                       what is measured and what ships

The pair stands in for models of the paper's class (2B on board, 7B on the ground) so that everything runs
with nothing to download. It is no substitute for them in a result about them.
"""
