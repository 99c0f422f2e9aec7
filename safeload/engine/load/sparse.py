"""Sparse tensors with their indices checked, which ``torch.load`` leaves undone.

Rule: an index lies inside the size, or there is no tensor: PyTorch's kernels use the indices as they are.
"""

from __future__ import annotations

from typing import Any

__all__ = ["rebuild_sparse_tensor"]


def rebuild_sparse_tensor(layout: Any, data: tuple[Any, ...]) -> Any:
    """``torch._utils._rebuild_sparse_tensor`` with ``check_invariants=True``, of indices that no other tensor shares.

    Raises:
        RuntimeError: the indices do not describe a tensor of that size.
    """
    import torch

    if layout == torch.sparse_coo:
        indices, values, size = data[:3]
        coalesced = data[3] if len(data) > 3 else None
        return torch.sparse_coo_tensor(indices.clone(), values, size, check_invariants=True, is_coalesced=coalesced)
    compressed, plain, values, size = data
    return torch.sparse_compressed_tensor(
        compressed.clone(), plain.clone(), values, size, layout=layout, check_invariants=True
    )
