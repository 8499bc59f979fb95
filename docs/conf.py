"""Configuration of the documentation: `make docs` builds it into build/docs."""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for the module beside this file

from command_reference import write_command_reference

project = "SpaceVerse testbed"
author = "The SpaceVerse testbed authors"
project_copyright = "The SpaceVerse testbed authors, BSD-3-Clause"
release = installed_version("spaceverse-testbed")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

# The public packages import their contents lazily; autodoc follows their __all__.
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
napoleon_numpy_docstring = False
default_role = "code"  # docstrings write `name`

html_theme = "furo"
html_title = "SpaceVerse testbed"
html_static_path = ["_static"]

write_command_reference(Path(__file__).parent / "reference" / "commands.md")
