"""`curvetune export`: the classifier of a cell as a folder that works without curvetune."""

from pathlib import Path
from typing import Annotated

import typer

from curvetune.cli import options as o


def export(
    cell: Annotated[
        str,
        typer.Argument(metavar="CELL", help="Its id, the first digits of it, or GRID/METHOD."),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder, or an export.")],
    onnx: Annotated[bool, typer.Option("--onnx", help="Write model.onnx too.")] = False,
    plugins: o.Plugins = None,
    storage: o.Storage = None,
    data_dir: o.StoredDataDir = None,
) -> None:
    """Write the classifier of CELL to a folder that needs PyTorch and safetensors alone.

    The folder has the weights, the names of the classes, how images are fed, and 20 lines that load
    them. No file in it is a pickle. Networks of torchvision and of plugins need neither there.
    """
    o.load_plugins(plugins)
    from curvetune.classify import classifier_of
    from curvetune.classify.export import LOADER, export_classifier

    folder, images = o.storage_or_default(storage), o.data_dir_or_default(data_dir)
    files = export_classifier(classifier_of(folder, cell, images), out, onnx=onnx)
    typer.echo(f"{out}: {', '.join(path.name for path in files)}")
    typer.echo(f"try it: python {out / LOADER} PICTURE")
