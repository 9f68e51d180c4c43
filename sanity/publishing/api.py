"""The API page from docstrings: the source is read, and never imported, so that nothing heavy is loaded."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from sanity.errors import SanityError

PLACE = "<!-- the package's names, filled in when the book is built -->"

Documented = ast.FunctionDef | ast.ClassDef


def api_markdown(package: Path) -> str:
    """What a package offers by name, in full, and what each room below it offers, in a line each.

    Parameters
    ----------
    package
        The folder of the package: its `__init__.py` has the names in `_HOMES`, each room's in `__all__`.
    """
    homes = _strings(_tree(package / "__init__.py"), "_HOMES")
    parts = [f"## `{package.name}`\n"]
    parts += [_in_full(package, name, module) for name, module in sorted(homes.items())]
    for room in sorted(path.parent for path in package.glob("*/__init__.py")):
        parts.append(_room(package, room))
    return "\n".join(filter(None, parts))


def _in_full(package: Path, name: str, module: str) -> str:
    found = _find(package, module, name)
    if found is None:
        raise SanityError(f"{module} names {name}, which is neither a function nor a class of it")
    summary, _, rest = (ast.get_docstring(found) or "").partition("\n\n")
    more = f"\n```text\n{rest.strip()}\n```\n" if rest.strip() else ""
    call = f"{package.name}.{name}{_signature(found)}"
    return f"### `{name}`\n\n```python\n{call}\n```\n\n{_prose(summary)}\n{more}"


def _room(package: Path, room: Path) -> str:
    tree = _tree(room / "__init__.py")
    names = _list(tree, "__all__")
    module = f"{package.name}.{room.name}"
    about = _prose((ast.get_docstring(tree) or "").partition("\n\n")[0])
    rows = [
        f"| `{name}` | {_prose(_first_sentence(found)).replace('|', chr(92) + '|')} |"
        for name in names
        if (found := _find(package, module, name)) is not None
    ]
    table = "\n".join(["| name | what it is |", "|---|---|", *rows]) if rows else ""
    return f"## `{module}`\n\n{about}\n\n{table}\n"


def _first_sentence(found: Documented) -> str:
    text = " ".join((ast.get_docstring(found) or "").partition("\n\n")[0].split())
    return re.split(r"(?<=[.:])\s", text, maxsplit=1)[0]


def _prose(text: str) -> str:
    """A docstring's text as Markdown that means what it says: only `code` keeps its meaning."""
    pieces = re.split(r"(`+[^`]*`+)", " ".join(text.split()))
    return "".join(p if p.startswith("`") else re.sub(r"([\\*_\[\]<>$#{}~])", r"\\\1", p) for p in pieces)


def _signature(found: Documented) -> str:
    if isinstance(found, ast.FunctionDef):
        returns = f" -> {ast.unparse(found.returns)}" if found.returns else ""
        return f"{_call(ast.unparse(found.args))}{returns}"
    fields = [
        ast.unparse(line)
        for line in found.body
        if isinstance(line, ast.AnnAssign) and not ast.unparse(line.annotation).startswith("ClassVar")
    ]
    if fields:
        return _call(", ".join(fields))
    start = next((f for f in found.body if isinstance(f, ast.FunctionDef) and f.name == "__init__"), None)
    return "()" if start is None else _call(ast.unparse(start.args).removeprefix("self").lstrip(", "))


def _call(arguments: str) -> str:
    """Arguments in brackets; many of them a line each."""
    if len(arguments) < 60:
        return f"({arguments})"
    depth, cut = 0, []
    for at, letter in enumerate(arguments):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            cut.append(at)
    parts = [arguments[a:b].strip(", ") for a, b in zip([0, *cut], [*cut, len(arguments)], strict=True)]
    return "(\n" + "".join(f"    {part},\n" for part in parts) + ")"


def _find(package: Path, module: str, name: str) -> Documented | None:
    """The function or class called `name`, followed from module to module; None for anything else."""
    for node in _tree(_file(package, module)).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return node
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(package.name):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _find(package, node.module, alias.name)
    return None


def _file(package: Path, module: str) -> Path:
    path = package.parent.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _assigned(tree: ast.Module, name: str) -> Iterator[ast.expr]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(getattr(one, "id", "") == name for one in node.targets):
            yield node.value


def _strings(tree: ast.Module, name: str) -> dict[str, str]:
    return dict(ast.literal_eval(next(_assigned(tree, name))))


def _list(tree: ast.Module, name: str) -> list[str]:
    return [one for value in _assigned(tree, name) for one in ast.literal_eval(value)]
