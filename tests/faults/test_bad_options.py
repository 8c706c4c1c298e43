"""F12: bad options of a command end before anything starts, as bad configs do."""

from pathlib import Path

import pytest
from refusals import GOOD, refusal

pytestmark = pytest.mark.faults

# What is typed beside a good space.yaml, and the message.
OPTIONS: dict[str, tuple[dict[str, object], str]] = {
    "an unknown option of --set": (
        {"fixed": ["imbalanc=1"]},
        "--set: unknown key 'imbalanc' (did you mean 'imbalance'?)",
    ),
    "--set without a value": ({"fixed": ["imbalance"]}, "--set 'imbalance': write KEY=VALUE"),
    "--set without a key": ({"fixed": ["=3"]}, "--set '=3': write KEY=VALUE"),
    "--set that is no YAML": ({"fixed": ["imbalance=["]}, "--set imbalance: '[' is not a YAML val"),
    "--set of a Python object": (
        {"fixed": ["seed=!!python/object/apply:os.system [touch pwned]"]},
        "is not a YAML value",
    ),
    "--set twice": ({"fixed": ["seed=1", "seed=2"]}, "--set seed: given twice (1 and 2)"),
    "--set by two names": (
        {"fixed": ["imbalance=1", "bias.imbalance=2"]},
        "--set: 'bias.imbalance' is given twice",
    ),
    "--set out of range": ({"fixed": ["imbalance=0"]}, "bias.imbalance: Input should be greater"),
    "--set of nothing": ({"fixed": ["imbalance=[]"]}, "bias.imbalance has no value"),
    "--set of an option that no method has": (
        {"fixed": ["embedding_dim=3"], "methods": "focal"},
        "--set method.embedding_dim: none of the chosen methods (focal)",
    ),
    "two sources": (
        {"fixed": ["data.name=[digits, cifar10]"]},
        "one source of data, got cifar10, d",
    ),
    "an unknown method of --methods": ({"methods": "nope"}, "--methods: unknown method 'nope'"),
    "an unknown profile": (
        {"profile": "smok"},
        "--profile: unknown profile 'smok' (did you mean 'sm",
    ),
    "an open range of seeds": ({"seeds": "0-"}, "--seeds '0-': '0-' is not a seed"),
    "a range that falls": ({"seeds": "3-1"}, "--seeds '3-1': '3-1' counts down"),
    "a word of --seeds": ({"seeds": "all"}, "--seeds 'all': 'all' is not a seed"),
    "a negative seed of --seeds": ({"seeds": "-1"}, "--seeds '-1': '-1' is not a seed"),
    "too many seeds": ({"seeds": "0-99999999999"}, "these are more than 100,000"),
    "a seed of many digits": ({"seeds": "9" * 5000}, "is not a seed"),
    "more cells than are allowed": ({"seeds": "0-99999"}, "seed has 100,000, bias.imbalance has 2"),
    "another way with bad images": (
        {"on_bad": "ignore"},
        "--on-bad 'ignore': allowed are skip and f",
    ),
    "an address of another client": ({"address": "ray://host:1"}, "Ray Client and dashboard addr"),
    "a share that cannot be had": ({"gpus": "1.5"}, "--gpus-per-trial 1.5: allowed are 0 to 1"),
    "a share that is no number": ({"gpus": "nan"}, "--gpus-per-trial nan: allowed are 0 to 1"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_a_bad_option_is_refused_with_its_name_and_value(case: str, tmp_path: Path) -> None:
    options, expected = OPTIONS[case]
    (tmp_path / "space.yaml").write_text(GOOD)
    message = refusal(str(tmp_path / "space.yaml"), **options)
    assert expected in message
    assert len(message) < 10_000
