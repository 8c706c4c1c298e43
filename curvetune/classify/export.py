"""The classifier of a cell as a folder that works without curvetune.

classifier.json      the classes, and how images are fed to it
model.safetensors    its weights
network.py           what it computes, of PyTorch's own operations
classifier.py        loads the three (exported.py)
model.onnx           the same for ONNX, if asked for
"""

import importlib.util
import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from curvetune.classify import exported
from curvetune.classify.classifier import Classifier
from curvetune.classify.program import example_images, program_of, traced
from curvetune.errors import ConfigError, StorageError, printable
from curvetune.store.names import MODEL

FACTS, NETWORK, LOADER, ONNX = "classifier.json", "network.py", "classifier.py", "model.onnx"
MADE_BY = "curvetune export"
TOLERANCE = 1e-4  # of probabilities, between the network and what was written of it


def export_classifier(classifier: Classifier, out: Path, *, onnx: bool = False) -> list[Path]:
    """Write a classifier to a folder, which appears whole; return its files.

    An earlier export in that folder is replaced. What was written is loaded and asked first.

    Raises:
        ConfigError: the folder holds something else, or the network cannot be written.
        StorageError: it cannot be written.
    """
    out = Path(os.path.abspath(out))  # what is hidden must stand beside it, also of "."
    _check_out(out)
    if onnx:
        _check_onnx()
    hidden = out.parent / f".{out.name}.{secrets.token_hex(4)}"
    try:
        hidden.mkdir(parents=True)
        _write(classifier, hidden, onnx=onnx)
        _check_same(classifier, hidden)
        _put(hidden, out)
    except OSError as error:
        raise StorageError(
            f"--out {printable(out)}: cannot be written ({error.strerror}); give another folder"
        ) from None
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return sorted(out.iterdir())


def description(classifier: Classifier) -> dict[str, Any]:
    """Return what an export says of a classifier, as JSON."""
    facts = classifier.facts.to_json()
    return {"made_by": MADE_BY, "schema_version": 1, "cell_id": classifier.cell_id, **facts}


def _write(classifier: Classifier, folder: Path, *, onnx: bool) -> None:
    program = program_of(classifier)
    text = json.dumps(description(classifier), indent=1)
    (folder / FACTS).write_text(f"{text}\n", encoding="utf-8")
    (folder / NETWORK).write_text(program.source, encoding="utf-8")
    save_file(program.weights, folder / MODEL)
    loader = Path(exported.__file__).read_text(encoding="utf-8")
    (folder / LOADER).write_text(loader.replace("  # noqa: T201", ""), encoding="utf-8")
    if onnx:
        _write_onnx(classifier, folder / ONNX)


def _write_onnx(classifier: Classifier, path: Path) -> None:
    program = torch.onnx.export(
        traced(classifier),
        input_names=["images"],
        output_names=["logits"],
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    assert program is not None
    program.save(path)


def _check_same(classifier: Classifier, folder: Path) -> None:
    """Refuse what does not say the same as the classifier, of one image and of several."""
    loaded = exported.Classifier(folder)
    for count in (1, 3):
        images = example_images(classifier, count)
        wanted = torch.from_numpy(classifier.predict_raw(images.numpy()).probabilities)
        if not torch.allclose(loaded(images), wanted, atol=TOLERANCE):
            raise ConfigError(
                "this network cannot be exported: what torch.export made of it computes something "
                "else; use it with `curvetune predict`, or in Python with Results.model(cell)"
            )


def _put(made: Path, out: Path) -> None:
    """Put a finished export in its place; an earlier one is removed once the new one is there."""
    _check_out(out)  # somebody may have written there meanwhile
    old = made.with_name(f"{made.name}.old")
    if out.exists():
        out.rename(old)
    made.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def _check_out(out: Path) -> None:
    """Refuse to write over what is not an export."""
    if not os.path.lexists(out) or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        is_ours = json.loads((out / FACTS).read_bytes())["made_by"] == MADE_BY
    except (OSError, ValueError, KeyError, TypeError):
        is_ours = False
    known = {FACTS, NETWORK, LOADER, ONNX, MODEL, "__pycache__"}
    if not is_ours or out.is_symlink() or {path.name for path in out.iterdir()} - known:
        raise ConfigError(
            f"--out {printable(out)}: it is there already, and holds more than an earlier export; "
            f"give a folder that is empty or not there"
        )


def _check_onnx() -> None:
    if any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript")):
        raise ConfigError("--onnx needs onnx and onnxscript: pip install 'curvetune[onnx]'")
