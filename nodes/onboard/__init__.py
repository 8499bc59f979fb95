"""A satellite's work on one frame: the stages of an answer, its confidence, and the message to the ground.

frame.py            one frame: stages, decision's message, answer
stages.py           the compact model, stage by stage
confidence.py       the progressive confidence network
judge.py            the network and the attention heads that a satellite uses
layout.py           grid of regions, codec, stages
message.py          messages: made on the satellite, read on the ground
policy_inputs.py    contact and queue, as a policy sees them
"""
