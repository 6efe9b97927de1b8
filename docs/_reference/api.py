"""The Python side: pages that Sphinx's autodoc fills from the docstrings."""

from __future__ import annotations

from _reference.markdown import page

# What somebody who writes Python is meant to use; the rest may change at any time.
MODULES = {
    "smskd": ("Distillation: any two networks, any iterable of batches.", "smskd"),
    "smskd.methods": ("Distillation methods, and how to write one.", "smskd.methods"),
    "export": ("From a network to checked bundles.", "export.requests export.bundling"),
    "deploy_targets": (
        "Measuring a bundle, here or over SSH.",
        "deploy_targets.measuring.measure deploy_targets.measurement deploy_targets.comparison",
    ),
    "bundles": ("Opening, packing and unpacking a bundle.", "foundation.bundle foundation.packing"),
    "errors": ("What can be caught.", "foundation.errors"),
}


def pages() -> dict[str, str]:
    """A page for each module, and one that lists them."""
    entries = [f"- [{name}](api/{name}.md): {summary}" for name, (summary, _) in MODULES.items()]
    return {
        "api.md": page(
            "Python",
            "Each room is a package of its own and can be used without the others; "
            "[architecture](../architecture.md) has the walls between them, "
            "[the how-to](../how-to/python.md) an example that runs.",
            "\n".join(entries),
        ),
        **{
            f"api/{name}.md": page(name, summary, *map(_documented, modules.split()))
            for name, (summary, modules) in MODULES.items()
        },
    }


def _documented(module: str) -> str:
    options = "   :imported-members:\n" if module == "smskd" else ""
    return f"```{{eval-rst}}\n.. automodule:: {module}\n{options}```"
