"""What this package provides."""

from __future__ import annotations

from burnish import KernelRecord, hookimpl


@hookimpl
def burnish_kernels() -> list[KernelRecord]:
    """One kernel."""
    return [
        KernelRecord(
            name="compile",
            target="burnish_compile.kernel:Compile",
            summary="torch.compile of every block, for any number of tokens",
            api=1,
        )
    ]
