"""Where a table's figures come from: recordings, commit, versions, hardware, commands."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from asd.data.catalog import Catalog
from asd.reproduce.folder import Folder, Record
from asd.runs import write_text

FILE = "provenance.json"
ENVIRONMENT = ("python", "packages", "commit", "system", "cpu", "cpus", "gpu")
"""What of a run's ``env.json`` tells one environment from another."""


def provenance(folder: Folder, records: Mapping[str, Record], data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of the finished cells.

    Args:
        data: what `inventory` said of the recordings, now or when the table was made from them.

    Returns:
        ``{"invocations", "data", "environments", "cells"}``. ``training_sha256`` is the digest of the recordings' own
        digests, which the run folders' ``env.json`` list; ``test_sha256`` that of names, sizes and labels.
    """
    environments: dict[str, dict[str, Any]] = {}
    cells: dict[str, Any] = {}
    for name, record in records.items():
        env = _env(folder, name)
        told = {key: env.get(key) for key in ENVIRONMENT}
        environments.setdefault(json.dumps(told, sort_keys=True), {**told, "cells": []})["cells"].append(name)
        cells[name] = {
            "commands": list(record.commands),
            "seconds": round(record.seconds, 3),
            "seed": record.seed,
            "preset": record.size,
            "training_sha256": _contents(env),
            "test_sha256": record.test,
            "scores_sha256": dict(record.scores),
        }
    return {
        "invocations": sorted({record.invocation for record in records.values()}),
        "data": dict(data),
        "environments": list(environments.values()),
        "cells": cells,
    }


def inventory(catalog: Catalog, labels: str | None) -> dict[str, Any]:
    """Return how many recordings of how many bytes a data root has, with a digest of their names and sizes."""
    machines: dict[str, Any] = {}
    for machine in catalog.machines():
        own = sorted((c.name, c.path.stat().st_size, c.split) for c in catalog.clips if c.machine == machine)
        text = "".join(f"{name}\t{size}\n" for name, size, _ in own)
        machines[machine] = {
            "training": sum(split == "train" for *_, split in own),
            "test": sum(split == "test" for *_, split in own),
            "bytes": sum(size for _, size, _ in own),
            "names_and_sizes_sha256": hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest(),
        }
    return {"root": str(catalog.root), "labels": labels, "machines": machines}


def write_provenance(folder: Folder, records: Mapping[str, Record], data: Mapping[str, Any] | None) -> None:
    """Write ``provenance.json``; without `data`, what it said of the recordings before stays."""
    if data is None:
        data = _before(folder)
    text = json.dumps(provenance(folder, records, data), indent=1, ensure_ascii=False) + "\n"
    write_text(folder.path / FILE, text)


def _before(folder: Folder) -> dict[str, Any]:
    try:
        said = json.loads((folder.path / FILE).read_text(encoding="utf-8"))["data"]
        return said if isinstance(said, dict) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _env(folder: Folder, cell: str) -> dict[str, Any]:
    try:
        said = json.loads((folder.run(cell) / "env.json").read_text(encoding="utf-8"))
        return said if isinstance(said, dict) else {}
    except (OSError, ValueError):
        return {}


def _contents(env: Mapping[str, Any]) -> str | None:
    """Return a digest of the training recordings' own digests; of a pre-training that of their names."""
    files = env.get("files")
    if not files:
        return env.get("recordings_sha256")
    lines = sorted(f"{file['path']}\t{file['sha256']}\n" for file in files)
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()
