"""What this package provides."""

from __future__ import annotations

from burnish import KernelRecord, hookimpl


@hookimpl
def burnish_kernels() -> list[KernelRecord]:
    """One kernel, which stands for several of Liger's."""
    return [
        KernelRecord(
            name="liger",
            target="burnish_liger.kernel:Liger",
            summary="norms, rotations and gated layers in Triton (CUDA)",
            api=1,
        )
    ]
