"""How a package is divided: its chapters, the arrows between them, and those that go in circles.

    python benchmarks/chapters.py pipeline

A chapter is a module or a package right below the one named; an arrow is one chapter that imports
another, however often. An arrow between two chapters that reach each other lies on a circle: of
these, some point up in whatever order the chapters are put.
"""

from __future__ import annotations

import argparse

import grimp


def chapters_of(graph: grimp.ImportGraph, package: str) -> dict[str, set[str]]:
    """Each chapter, with the modules in it."""
    return {
        child: {child, *graph.find_descendants(child)}
        for child in graph.find_children(package)
        if not child.endswith("__main__")
    }


def arrows_between(
    graph: grimp.ImportGraph, chapters: dict[str, set[str]]
) -> dict[tuple[str, str], int]:
    """How many imports of a module by a module each arrow stands for."""
    home = {module: chapter for chapter, modules in chapters.items() for module in modules}
    arrows: dict[tuple[str, str], int] = {}
    for module, chapter in home.items():
        for imported in graph.find_modules_directly_imported_by(module):
            target = home.get(imported, chapter)
            if target != chapter:
                arrows[chapter, target] = arrows.get((chapter, target), 0) + 1
    return arrows


def on_circles(arrows: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The arrows whose two ends reach each other."""
    nodes = {node for arrow in arrows for node in arrow}
    reached = {node: {end for start, end in arrows if start == node} for node in nodes}
    for middle in nodes:
        for node in nodes:
            if middle in reached[node]:
                reached[node] |= reached[middle]
    return {(start, end) for start, end in arrows if start in reached[end]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("package")
    parser.add_argument("-v", "--verbose", action="store_true", help="list the circles' arrows")
    args = parser.parse_args()
    graph = grimp.build_graph(args.package)
    chapters = chapters_of(graph, args.package)
    arrows = arrows_between(graph, chapters)
    circles = on_circles(set(arrows))
    print(f"{len(chapters)} chapters, {len(arrows)} arrows, {len(circles)} of them on circles")
    if args.verbose:
        for start, end in sorted(circles):
            print(f"  {start} -> {end} ({arrows[start, end]} imports)")


if __name__ == "__main__":
    main()
