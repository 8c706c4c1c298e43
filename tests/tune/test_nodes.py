"""What a node answers before it gets trials, and what is made of that."""

import ast
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import curvetune
from curvetune import data
from curvetune.system.source_code import this_code
from curvetune.tune.nodes import look
from curvetune.tune.nodes.asked import Node, Question, asking, bytes_sent, faults, too_small

PACKAGE = Path(curvetune.__file__).parent


@pytest.fixture
def question(tmp_path: Path) -> Any:
    with asking(tmp_path / "results", "digits-1", gpus=False, files=()) as asked:
        yield asked


def answer(question: Question, node: str = "a" * 56, **changed: Any) -> dict[str, Any]:
    return {**look.look(question.to(node, driver_looks=True)), **changed}


def test_a_node_like_the_drivers_is_fit_and_leaves_its_answer(question: Question) -> None:
    found = answer(question)
    assert faults(found, question) == []
    assert found["source"] == this_code().source
    assert Path(question.folder, look.answer_name("a" * 56)).exists()
    own = look.look(question.to("b" * 56))  # a trial's, which nobody looks for
    assert faults(own, question) == []
    assert not Path(question.folder, look.answer_name("b" * 56)).exists()


def test_the_question_is_gone_afterwards(tmp_path: Path) -> None:
    with asking(tmp_path, "digits-1", gpus=False, files=()):
        assert len(list((tmp_path / ".tune/digits-1.nodes").iterdir())) == 1
    assert not (tmp_path / ".tune/digits-1.nodes").exists()


def test_a_folder_without_the_drivers_question_is_another_storage(question: Question) -> None:
    Path(question.folder, question.nonce).unlink()
    (fault,) = faults(answer(question), question)
    assert fault.startswith(f"storage {question.storage} is not there, or is another folder")
    assert "--storage s3://" in fault


def test_a_folder_that_cannot_be_written_is_told_with_the_systems_reason(
    question: Question,
) -> None:
    name = Path(question.folder, look.answer_name("b" * 56))
    name.symlink_to(name.parent / "no" / "such" / "folder")  # root may write anywhere else
    (fault,) = faults(answer(question, "b" * 56), question)
    assert "cannot be written (No such file or directory)" in fault


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"missing": ["torch", "yaml"]}, "lacks torch, yaml; install curvetune's dependencies"),
        ({"source": None}, "cannot import curvetune"),
        ({"source": "0" * 16}, "would run other code of curvetune (0000000000000000; the driver"),
        ({"cuda": "there is no NVIDIA driver"}, "has GPUs for Ray, but there is no NVIDIA driver"),
        ({"unseen": ["/far/1.jpg"]}, "cannot read /far/1.jpg; streamed images must be where"),
    ],
)
def test_each_lack_of_a_node_is_told_with_what_to_do(
    question: Question, changed: dict[str, Any], words: str
) -> None:
    (fault,) = faults(answer(question, **changed), question)
    assert fault.startswith(words)


def test_a_file_that_a_trial_reads_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "here.jpg").touch()
    files = [str(tmp_path / name) for name in ("here.jpg", "gone.jpg")]
    with asking(tmp_path, "digits-1", gpus=False, files=files) as question:
        assert answer(question)["unseen"] == files[1:]


def test_a_pytorch_without_cuda_is_told_only_where_trials_use_gpus(
    question: Question, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").touch()
    version = tmp_path / "torch/version.py"
    monkeypatch.syspath_prepend(str(tmp_path))
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); "
        "from curvetune.tune.nodes.look import _cuda_fault; print(_cuda_fault())"
    )

    def fault() -> str:
        words = [sys.executable, "-c", code, str(tmp_path)]
        done = subprocess.run(words, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    version.write_text("cuda: Optional[str] = None\nhip: Optional[str] = None\n")
    assert fault().endswith("is built without CUDA")
    version.write_text("cuda: Optional[str] = None\nhip: Optional[str] = '6.4'\n")
    assert fault() == "None"
    assert answer(question)["cuda"] is None  # nobody asked for GPUs


NODE = Node("a" * 56, "h2 (10.0.0.2)", {"object_store_memory": 1e9})


def test_images_that_fit_into_the_object_store_need_no_word(
    question: Question, caplog: pytest.LogCaptureFixture
) -> None:
    fits = replace(question, data_bytes=10**9)
    assert too_small(answer(question, disk=0), NODE, fits) == []
    assert not caplog.text


def test_images_that_go_to_a_nodes_disk_are_told_and_those_that_do_not_fit_are_refused(
    question: Question, caplog: pytest.LogCaptureFixture
) -> None:
    large = replace(question, data_bytes=3 * 10**9)
    assert too_small(answer(question, disk=2 * 10**9), NODE, large) == []
    assert "h2 (10.0.0.2): the images take 3 GB" in caplog.text
    (fault,) = too_small(answer(question, disk=10**9), NODE, large)
    assert "the images take 3 GB; Ray's object store there has 1 GB and its disk 1 GB" in fault
    assert "--set train_limit" in fault
    assert "--set residence=streamed" in fault


def test_bytes_of_images_in_memory_go_to_every_node() -> None:
    digits = data.load("digits")
    assert bytes_sent(digits) == digits.train.x.nbytes + digits.test.x.nbytes
    assert bytes_sent(np.ones(3)) == 0  # a stand-in


def test_the_modules_that_a_node_needs_are_those_that_the_training_core_imports() -> None:
    code = (
        "import sys, curvetune.tune.trainable, curvetune.tune.curves, curvetune.cell; "
        "print(*(m for m in sys.modules if m.startswith('curvetune')))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    found = {name for module in done.stdout.split() for name in _imports(_file(module))}
    others = {n for n in found if n not in sys.stdlib_module_names} - {"curvetune", "pydantic_core"}
    later = {"pyarrow"}  # Ray Tune needs it, and who streams Parquet
    assert others | later == {*look.MODULES}
    assert not others & later


def _file(module: str) -> Path:
    path = PACKAGE.parent / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _imports(path: Path) -> set[str]:
    """Return the top names of what a module imports when it is imported."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names
