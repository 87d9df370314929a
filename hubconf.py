"""Entry points of `torch.hub`, one per system, made from the registry:

torch.hub.load("<owner>/<repo>", "single_location", weights="manifold", trust_repo=True)
"""

import pathlib
import sys

dependencies = ["torch", "safetensors"]

_here = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(_here))
try:
    import zoo

    if pathlib.Path(zoo.__file__).resolve().parent != _here / "zoo":
        raise ImportError(
            f"another `zoo` is already imported, from {zoo.__file__}: load this repository in a new process."
        )
    import zoo.hub.entry
finally:
    sys.path.remove(str(_here))

globals().update({_name: zoo.hub.entry.Entry(_name) for _name in zoo.list_models()})
