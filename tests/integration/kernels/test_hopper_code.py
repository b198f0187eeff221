"""What a GPU would be given, read from the machine code; it says nothing about speed, but much about lost speed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HOPPER_SHARED_BYTES = 227 * 1024


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    # Today's default of Triton, said aloud: it warns that the default will change.
    environment |= {"TRITON_CACHE_DIR": str(tmp_path_factory.mktemp("triton")), "TRITON_DEFAULT_FP_FUSION": "1"}
    program = Path(__file__).with_name("hopper_code.py")
    done = subprocess.run([sys.executable, program], env=environment, capture_output=True, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_every_kernel_fits_an_sm(code: list[dict[str, Any]]) -> None:
    assert {one["kernel"] for one in code} == {"attend_split", "attend_tile", "reduce_splits", "rotate_heads"}
    assert max(one["shared_bytes"] for one in code) <= HOPPER_SHARED_BYTES


def test_no_register_of_a_bf16_kernel_is_spilled(code: list[dict[str, Any]]) -> None:
    assert [one for one in code if one["dtype"] == "*bf16" and one["stack_bytes"] > 0] == []


def test_prefill_multiplies_by_warpgroups_and_decode_on_tensor_cores(code: list[dict[str, Any]]) -> None:
    """fp32 too, as three products of tf32."""
    assert all(one["num_wgmma"] > 0 for one in code if one["kernel"] == "attend_tile")
    assert all(one["num_mma"] > 0 for one in code if one["kernel"] == "attend_split")


def test_keys_and_values_are_copied_while_others_are_multiplied(code: list[dict[str, Any]]) -> None:
    assert all(one["num_async_copies"] > 0 for one in code if one["kernel"].startswith("attend"))
