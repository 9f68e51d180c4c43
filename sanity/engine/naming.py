"""One name for everything that can be chosen: architectures, constraints, inits, objectives, sources, evals.

Each is a frozen dataclass below a family (`Constraint`, `Eval`, ...) and declares its name once, where it is
defined; that alone makes it known, also in a notebook. Its name with the fields that differ from their
defaults is how it is spelled in profiles, claims, tables and figures.

>>> from dataclasses import dataclass
>>> class Shape(FamilyMember, family="shape"):
...     pass
>>> @dataclass(frozen=True)
... class Circle(Shape):
...     radius: float = 1.0
...     name = "circle"
>>> Circle(2.5).spelled
'circle(radius=2.5)'
>>> Shape.named("circle(radius=2.5)")
Circle(radius=2.5)
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import pkgutil
import sys
from typing import Any, ClassVar

from sanity.engine.arguments import CheckedDataclass
from sanity.errors import BadInputError


def import_modules(package: str) -> None:
    """Import every module of a package: a class in a file that is put there is known, and listed nowhere."""
    for module in pkgutil.iter_modules(sys.modules[package].__path__):
        importlib.import_module(f"{package}.{module.name}")


class FamilyMember(CheckedDataclass):
    """The base of all families; a direct subclass with `family=` opens one."""

    name: ClassVar[str] = ""
    """In profiles, claims and tables; a class without one is a base and cannot be chosen."""
    title: ClassVar[str] = ""
    """As readers see it; a class without one of its own has its name with spaces."""
    family: ClassVar[str] = ""
    known: ClassVar[dict[str, type[Any]]]
    """Every named class of the family."""

    def __init_subclass__(cls, family: str = "", **more: Any) -> None:
        super().__init_subclass__(**more)
        if family:
            cls.family, cls.known = family, {}
            return
        name = cls.__dict__.get("name", "")
        if not name:
            return
        before = cls.known.get(name)
        if before is not None and (before.__module__, before.__qualname__) != (
            cls.__module__,
            cls.__qualname__,
        ):
            raise BadInputError(
                f"{cls.__module__}.{cls.__qualname__} calls itself {name!r}, and so does "
                f"{before.__module__}.{before.__qualname__}: give one of them another name"
            )
        if not cls.__dict__.get("title"):
            cls.title = name.replace("_", " ")
        cls.known[name] = cls

    @property
    def spelled(self) -> str:
        """The name, with the fields that differ from their defaults: unique within the family."""
        fields: tuple[dataclasses.Field[Any], ...] = (
            dataclasses.fields(self) if dataclasses.is_dataclass(self) else ()
        )
        changed = [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in fields
            if getattr(self, field.name) != _default(field)
        ]
        return f"{self.name}({', '.join(changed)})" if changed else self.name

    @property
    def label(self) -> str:
        """The title, with the fields that differ from their defaults."""
        _, bracket, changed = self.spelled.partition("(")
        return f"{self.title} ({changed.removesuffix(')')})" if bracket else self.title

    @classmethod
    def class_named(cls, name: str) -> type[Any]:
        """The class called `name`; an unknown one is refused with the names that there are."""
        found = cls.known.get(name)
        if found is None or not issubclass(found, cls):
            names = ", ".join(sorted(name for name, kind in cls.known.items() if issubclass(kind, cls)))
            raise BadInputError(f"no {cls.family} is called {name!r}; there are: {names}")
        return found

    @classmethod
    def named(cls, spelled: str) -> Any:
        """What `spelled` spells, such as `soft_frozen_decoder` or `soft_frozen_decoder(cosine=0.6)`."""
        name, fields = parsed(spelled)
        kind = cls.class_named(name)
        try:
            return kind(**fields)
        except TypeError as error:
            raise BadInputError(f"{spelled!r} is no {cls.family}: {error}") from error


def parsed(spelled: str) -> tuple[str, dict[str, Any]]:
    """Name and fields of `name` or `name(field=value, ...)`; values are plain Python literals."""
    try:
        tree = ast.parse(spelled.strip(), mode="eval").body
        if isinstance(tree, ast.Name):
            return tree.id, {}
        if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and not tree.args:
            fields = {str(word.arg): ast.literal_eval(word.value) for word in tree.keywords if word.arg}
            return tree.func.id, fields
    except (SyntaxError, ValueError):
        pass
    raise BadInputError(f"{spelled!r} is neither a name nor name(field=value, ...)")


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return (
        field.default_factory() if field.default_factory is not dataclasses.MISSING else dataclasses.MISSING
    )
