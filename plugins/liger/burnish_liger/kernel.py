"""RMSNorm, rotary embeddings and gated feed-forward layers in Triton, from liger-kernel."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from torch import nn

from burnish.errors import ModelError
from burnish.model.scorer import base_of

PATCHES = "liger_kernel.transformers.monkey_patch"


@dataclass(frozen=True, kw_only=True)
class Liger:
    """Puts Liger's kernels on a model that is on CUDA; its losses are not used, burnish has its own.

    Source: Hsu et al. 2024, arXiv:2410.10989, package liger-kernel. The rotation is replaced for the whole family, in this
    process; norms and layers in this model. Raises ModelError off CUDA, without the package, and for families it does not know.
    """

    rms_norm: bool = True
    """Norms by the root of the mean square."""
    rope: bool = True
    """Rotary embeddings."""
    mlp: bool = True
    """Gated feed-forward layers (SwiGLU, GeGLU)."""

    def __call__(self, model: nn.Module) -> None:
        """Change `model` in place."""
        base = base_of(model)
        device = next(model.parameters()).device
        if device.type != "cuda":
            where = f"this model is on the {device.type}"
            raise ModelError(f"the kernel 'liger' is written for CUDA, and {where}; drop it from model.kernels")
        try:
            patches = importlib.import_module(PATCHES)
        except ImportError as error:
            remedy = "pip install 'burnish-liger[cuda]'"
            raise ModelError(f"the kernel 'liger' needs the package liger-kernel: {remedy} ({error})") from error
        family = base.config.model_type
        if family not in patches.MODEL_TYPE_TO_APPLY_LIGER_FN:
            known = ", ".join(sorted(patches.MODEL_TYPE_TO_APPLY_LIGER_FN))
            raise ModelError(f"the kernel 'liger' does not know models of the family '{family}', only {known}")
        wanted = {"rms_norm": self.rms_norm, "rope": self.rope, "swiglu": self.mlp, "geglu": self.mlp}
        losses = {"cross_entropy": False, "fused_linear_cross_entropy": False}
        patches._apply_liger_kernel_to_instance(model=base, **wanted, **losses)
