"""Options that are keys of the recipe: the recipe alone says what each is called, of which type it
is and what it does, and the parser's own context says which of them were given.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import zip_longest
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer
from typer.core import TyperCommand

from pipeline.cli._completion import among, complete_bundle, complete_target
from pipeline.cli._panels import in_panels
from pipeline.cli._parameters import parameters_of

if TYPE_CHECKING:
    from pipeline.recipe.keys import RecipeKey

METRIC_HELP = (
    "Judge networks by this too, and choose by it in place of top-1: macro_f1, macro_recall, "
    "macro_precision, worst_recall, top5, auroc, or a function of your own, package.module:function"
)
_GIVEN = "pipeline.recipe"
_COMPLETED = {"export.targets": complete_target, "gate.bundles": complete_bundle}
_TYPED = {"COMMANDLINE", "ENVIRONMENT"}


@dataclass(frozen=True)
class RecipeOption:
    """An option that is a key of the recipe.

    Attributes:
        place: of the key: "teacher.weights".
        name: of the option: "teacher_weights"; if unset that of the key, in the singular where it
            takes several.
        help: what it does; if unset what the recipe says of the key. The place is added.
    """

    place: str
    name: str | None = None
    help: str | None = None


class RecipeCommand(TyperCommand):
    """A command that takes keys of the recipe beside its own parameters.

    They are looked up when somebody asks for this command's parameters: no other command waits for
    the recipe. A parameter of its own stands in for a key's option of the same name.

    Attributes:
        section: of the recipe, all of whose keys are options.
        without: keys of the section that are no options.
        options: further keys.
        rare, out: names of options, as `in_panels` takes them.
        metavars: what stands for a value in the help, by the option's name.
        bare: what options stand for that come without a value, each with its value: "--embed" is
            ("--embed", "all"). They come with one where the next word is one of the key's.
    """

    section: ClassVar[str | None] = None
    without: ClassVar[Collection[str]] = ()
    options: ClassVar[tuple[RecipeOption, ...]] = ()
    metavars: ClassVar[Mapping[str, str]] = {}
    rare: ClassVar[Collection[str]] = ()
    out: ClassVar[Collection[str]] = ()
    bare: ClassVar[Mapping[str, tuple[str, str]]] = {}

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give those options a value that come without one."""
        words: list[str] = []
        for word, following in zip_longest(args, args[1:], fillvalue=""):
            stands_for = self.bare.get(word)
            if stands_for is None or (word == stands_for[0] and following in self._choices(word)):
                words.append(word)
            else:
                words += stands_for
        return super().parse_args(ctx, words)

    def _choices(self, flag: str) -> Collection[str]:
        """The words that an option may be given."""
        return self._keys[flag.removeprefix("--").replace("-", "_")].choices

    def get_params(self, ctx: Any) -> list[Any]:
        """All parameters: arguments, then keys of the recipe, then the command's own options."""
        every = super().get_params(ctx)
        own = {parameter.name: parameter for parameter in every}
        in_order = [own.get(name, made) for name, made in self._of_recipe.items()]
        arguments = [parameter for parameter in every if parameter.param_type_name == "argument"]
        others = [parameter for parameter in every if parameter not in (*arguments, *in_order)]
        return [*arguments, *in_panels([*in_order, *others], self.rare, self.out)]

    def invoke(self, ctx: Any) -> Any:
        """Run the command; `recipe_changes` tells it what was given of the recipe."""
        own = {parameter.name for parameter in self.params}
        places = {name: key.place for name, key in self._keys.items() if name not in own}
        values = {name: ctx.params.pop(name) for name in places}
        ctx.meta[_GIVEN] = {
            places[name]: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if ctx.get_parameter_source(name).name in _TYPED
        }
        return super().invoke(ctx)

    @cached_property
    def _keys(self) -> dict[str, RecipeKey]:
        """The keys that are options, by the names of their parameters."""
        from pipeline.recipe.keys import key_at, keys_of  # noqa: PLC0415 - only where it is needed

        section = keys_of(self.section) if self.section else []
        keys = {_name_of(key): key for key in section if key.name not in self.without}
        for option in self.options:
            key = key_at(option.place)
            keys[option.name or _name_of(key)] = replace(key, words=option.help or key.words)
        return keys

    @cached_property
    def _of_recipe(self) -> dict[str, Any]:
        """Parameters for the keys, by name, as Typer makes them of a function that has them."""

        def function() -> None:
            """Never called."""

        function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                inspect.Parameter(
                    name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=None,
                    annotation=_annotation(name, key, self.metavars.get(name)),
                )
                for name, key in self._keys.items()
            ]
        )
        return {str(parameter.name): parameter for parameter in parameters_of(function)}


def with_recipe(
    *options: RecipeOption,
    section: str | None = None,
    without: Collection[str] = (),
    metavars: Mapping[str, str] | None = None,
    rare: Collection[str] = (),
    out: Collection[str] = (),
    bare: Mapping[str, tuple[str, str]] | None = None,
) -> type[RecipeCommand]:
    """The class of a command that takes keys of the recipe; see `RecipeCommand`."""
    members = {
        "section": section,
        "without": without,
        "options": options,
        "metavars": metavars or {},
        "rare": rare,
        "out": out,
        "bare": bare or {},
    }
    return type("RecipeCommand", (RecipeCommand,), members)


def recipe_changes(ctx: typer.Context) -> dict[str, Any]:
    """What the command line gave of the recipe, by place: {"bench.threads": 2}."""
    return dict(ctx.meta[_GIVEN])


def _name_of(key: RecipeKey) -> str:
    return key.name.removesuffix("s") if key.is_list else key.name


def _annotation(name: str, key: RecipeKey, metavar: str | None) -> Any:
    words = f"{key.words[:1].upper()}{key.words[1:].rstrip('.')}"
    repeats = "; may be repeated" if key.is_list else ""
    word = name.replace("_", "-")
    flags = f"--{word}/--no-{word}" if key.type is bool else f"--{word}"
    option = typer.Option(
        flags,
        help=f"{words}{repeats} ({key.place}).",
        metavar=metavar,
        autocompletion=among(key.choices) if key.choices else _COMPLETED.get(key.place),
    )
    kind: Any = list[key.type] if key.is_list else key.type  # type: ignore[name-defined]
    return Annotated[kind | None, option]
