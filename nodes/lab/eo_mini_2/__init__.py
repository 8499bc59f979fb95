"""The benchmark `eo-mini-2`: frames of 2688 px, in which difficulty varies within every kind of prompt.

    scene.py         a frame, described: its ground, objects, lures, haze, clouds and noise
    compose.py       draws the descriptions of a split
    fields.py        random fields with exact area means at every scale
    backgrounds.py   the surface: a synthetic sea with coasts, or imagery of one's own
    outlines.py      area coverage of objects
    render.py        pixels: any native rectangle, or the whole frame reduced to 224 px
    questions.py     the prompts about a scene, and the cells that their answers need
    answers.py       grammar and scores of the answers
    detectors.py     what can be told of a thing at each scale, by a detector that knows all but the answer
    cell_finders.py  cells that look suspicious without a model
    gates.py         conditions that hold before a model is trained
    files.py         a split on disk; pictures
    compact/, regular/, learning/   training of the two models, and what both trainings share
    trained/         answers of trained models, and conditions that hold after training

Nothing of it is imagery: the surfaces are models and the objects are drawn.

Command line: python -m nodes.lab.eo_mini_2 --help
"""
