"""Cycles of objects are looked for again once the block ends, however it does."""

import gc

import pytest

from curvetune.system.collecting import not_collected


@pytest.fixture(params=[True, False])
def is_on(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_it_is_as_before_after_a_block_an_error_and_a_block_within(is_on: bool) -> None:
    was_on = gc.isenabled()
    try:
        (gc.enable if is_on else gc.disable)()
        with not_collected(), not_collected():
            assert not gc.isenabled()
        assert gc.isenabled() == is_on
        with pytest.raises(ValueError, match="x"), not_collected():
            raise ValueError("x")
        assert gc.isenabled() == is_on
    finally:
        (gc.enable if was_on else gc.disable)()
