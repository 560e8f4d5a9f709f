"""Looks at a scene as the add-on does, in a Blender that renders nothing.

``params``: ``headless``, the path of `addon.scene.headless`, which finds the rest of the package
from where it lies; ``arguments``, the path of its own parameters.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import Any


def main(params: dict[str, Any]) -> int:
    """Run it; return its exit code. The answer lies in the file that its parameters name."""
    spec = importlib.util.spec_from_file_location("rendermill_headless", params["headless"])
    assert spec is not None, "a path that ends in .py has a loader"
    assert spec.loader is not None, "likewise"
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by its name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.main([params["arguments"]])
