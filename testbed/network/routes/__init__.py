"""IP routes that follow the contacts: computed ahead from the traces of all links, applied during the play.

All routes form a tree at each moment, with mission control at its root. Each node sends what it has for
anybody to its parent; a parent knows the satellites and stations behind each of its children.
"""
