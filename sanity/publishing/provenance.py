"""What a page was made from and on: the block that every chapter shows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from sanity.engine.machine import commit, cpu, memory_bytes, versions
from sanity.engine.reporting import describe

if TYPE_CHECKING:
    from sanity.engine.cells import Result


def provenance(
    *,
    profile: str,
    results: Sequence[Result] = (),
    seeds: Iterable[int] = (),
    hashes: Mapping[str, str] | None = None,
    seconds: float = 0.0,
) -> dict[str, Any]:
    """The facts behind a page, as plain JSON data.

    Parameters
    ----------
    profile : str
        The profile that the page was run at.
    results : sequence of Result
        Everything that the page rests on (see `with_inputs`). Seeds, hashes, commits and processors are
        read from their manifests, so they are those of the computation and not of this machine.
    seeds : iterable of int
        Further seeds, which the results do not name.
    hashes : mapping of str to str, optional
        Further hashes of models and data: name -> hash.
    seconds : float
        How long the page itself took.
    """
    recipes = [result.manifest["recipe"]["config"] for result in results]
    records = [result.manifest["provenance"] for result in results]
    named = {int(seed) for recipe in recipes for seed in _seeds(recipe)}
    found = {name: value for recipe in recipes for name, value in _hashes(recipe)}
    keys = sorted(result.key for result in results)
    processors = {_processor_words(record["cpu"], record["threads"]) for record in records}
    return {
        "profile": profile,
        "commit": commit(),
        "commits_of_results": sorted({str(record["commit"]) for record in records}),
        "seeds": sorted(named | set(seeds)),
        "hashes": dict(sorted({**found, **(hashes or {})}.items())),
        "results": {"count": len(keys), "digest": hashlib.sha256("\n".join(keys).encode()).hexdigest()[:20]},
        "hardware": {"cpu": cpu(), "memory_bytes": memory_bytes()},
        "hardware_of_results": sorted(processors),
        "seconds": {"page": round(seconds, 1), "results": round(sum(r.seconds for r in results), 1)},
        "versions": versions(),
    }


def with_inputs(results: Iterable[Result], get: Callable[[str], Result | None]) -> list[Result]:
    """`results` and all that they were computed from, each once; `get` finds a result by its key."""
    found: dict[str, Result] = {}
    waiting = list(results)
    while waiting:
        result = waiting.pop()
        if result.key in found:
            continue
        found[result.key] = result
        inputs = (get(key) for key in result.manifest["recipe"]["inputs"].values())
        waiting.extend(item for item in inputs if item is not None)
    return list(found.values())


def provenance_html(facts: Mapping[str, Any]) -> str:
    """The facts as a folded block: one line that says the most, and a table when it is opened."""
    seeds = ", ".join(map(str, facts["seeds"]))
    here = _processor_words(facts["hardware"]["cpu"], None)
    memory = f"{facts['hardware']['memory_bytes'] / 2**30:.0f} GiB of memory"
    elsewhere = [words for words in facts["hardware_of_results"] if not words.startswith(here)]
    rows = {
        "Profile": facts["profile"],
        "Commit": facts["commit"],
        "Commits of the results": ", ".join(facts["commits_of_results"]),
        "Seeds": seeds,
        "Results": f"{facts['results']['count']}, digest {facts['results']['digest']}",
        **{f"Hash of {name}": value for name, value in facts["hashes"].items()},
        "Hardware": f"{here}; {memory}",
        "Results computed on": "; ".join(facts["hardware_of_results"] if elsewhere else ()),
        "Duration": f"{describe(facts['seconds']['results'])} for the results, "
        f"{describe(facts['seconds']['page'])} for this page",
        "Versions": ", ".join(f"{name} {version}" for name, version in facts["versions"].items()),
    }
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in rows.items()
        if value
    )
    summary = (
        f"Provenance: profile {facts['profile']}, commit {facts['commit']}, "
        f"{f'seeds {seeds}, ' if seeds else ''}{describe(facts['seconds']['results'])} of computing"
    )
    return (
        f'<details class="sanity-provenance"><summary>{escape(summary)}</summary>'
        f"<table><tbody>{body}</tbody></table></details>"
    )


def _seeds(config: Any) -> list[int]:
    """Every whole number under a name `seed` or `seeds`, at any depth."""
    return [
        value
        for name, value in _leaves(config)
        if (name == "seed" or name == "seeds") and isinstance(value, int) and not isinstance(value, bool)
    ]


def _hashes(config: Any) -> list[tuple[str, str]]:
    """Every text under a name that says it is a hash, at any depth, by that name."""
    return [
        (name.removesuffix("_sha256").removesuffix("_hash").replace("_", " "), value)
        for name, value in _leaves(config)
        if name.endswith(("sha256", "_hash")) and isinstance(value, str)
    ]


def _leaves(config: Any, name: str = "") -> list[tuple[str, Any]]:
    if isinstance(config, Mapping):
        return [leaf for key, value in config.items() for leaf in _leaves(value, str(key))]
    if isinstance(config, list | tuple):
        return [leaf for value in config for leaf in _leaves(value, name)]
    return [(name, config)]


def _processor_words(facts: Mapping[str, Any], threads: int | None) -> str:
    flags = f", {' '.join(facts['flags'])}" if facts["flags"] else ""
    words = f"{facts['model']}, {facts['cores']} cores{flags}"
    return words if threads is None else f"{words}, {threads} threads"
