"""The benchmark `eo-mini-2`: frames of 2688 px, in which difficulty varies within every kind of prompt.

    scene.py         a frame, described: its ground, objects, lures, haze, clouds and noise
    compose.py       draws the descriptions of a split
    fields.py        random fields with exact area means at every scale
    backgrounds.py   the surface: a synthetic sea with coasts, or imagery of one's own
    outlines.py      area coverage of objects
    render.py        pixels: any native rectangle, or the whole frame reduced to 224 px
    questions.py     the prompts about a scene, and the cells that their answers need
    answers.py       grammar and scores of the answers

Nothing of it is imagery: the surfaces are models and the objects are drawn.
"""
