"""What the parts of Rendermill say to each other: values, messages, formats.

No I/O, no clock, no bpy. Everything but `codec` needs only the standard library, so that this
package also loads inside a Blender that has none of our wheels.
"""

from __future__ import annotations

PROTOCOL_VERSION = 1
"""Raised whenever a message, a REST body or a stored format changes incompatibly."""
