"""The words by which Blender, Cycles and the drivers of GPUs say that memory is short."""

from __future__ import annotations

import pytest
from rendermill.node.blender.failing import ran_out_of_memory, refusal
from rendermill.protocol.messages import FailureKind

SAID = [
    "Error: System is out of GPU memory",
    "System is out of memory",
    "Out of memory in CUDA queue enqueue (integrator_shade_surface)",
    "CUDA_ERROR_OUT_OF_MEMORY in cuMemAlloc_v2( &device_pointer, size )",
    "Failed to allocate: hipErrorOutOfMemory",
    "oneAPI error: UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY",
    "Caused GPU Error (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)",
    "command buffer failed: Insufficient Memory",
    "terminate called after throwing an instance of 'std::bad_alloc'",
    "Malloc returns null: len=17179869184 in BLI_array, total 123",
    "MemoryError",
]


@pytest.mark.parametrize("line", SAID)
def test_memory_is_short(line: str) -> None:
    assert ran_out_of_memory([line])
    assert refusal({"reason": line, "failure": "scene"}, ()).kind is FailureKind.MEMORY


@pytest.mark.parametrize(
    "line", ["Fra:1 Mem:120.00M", "Peak memory 3.2 GiB", "ran out of time", "a memory of summer"]
)
def test_it_is_not(line: str) -> None:
    assert not ran_out_of_memory([line])
