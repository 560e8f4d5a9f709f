"""What runs inside Blender: standard library and bpy only, Python 3.11 to 3.14.

Never imported here. `node.blender.script` puts the source text of these modules, and of `compat`,
`paths` and `socket_texts` of the add-on, into one file as the modules of a package of its own; so
they find each other by ``from . import compat``, which only exists there.
"""
