"""What both fused kernels ask of their inputs, in arrays of any library."""

DTYPES = ("float32", "bfloat16", "float16")
MAX_KEY_DIM = 128


def check_inputs(query, key, value, relative, padding_mask):
    """Raises a `ValueError` where shapes and dtypes do not fit together.

    Args:
        query: array of shape (batch, heads, time, key_dim).
        key: array like `query`.
        value: array like `query`.
        relative: array of shape (max_distance, heads or 1, key_dim).
        padding_mask: array of shape (batch, time), or `None`.
    """
    if query.ndim != 4 or not 1 <= query.shape[-1] <= MAX_KEY_DIM:
        raise ValueError(
            "`query` must have the shape (batch, heads, time, key_dim), with "
            f"`key_dim` at most {MAX_KEY_DIM}. "
            f"Received: query.shape={tuple(query.shape)}"
        )
    if str(query.dtype).removeprefix("torch.") not in DTYPES:
        raise ValueError(
            f"`query` must be of one of the dtypes {DTYPES}. "
            f"Received: query.dtype={query.dtype}"
        )
    for name, x in (("key", key), ("value", value)):
        if x.shape != query.shape or x.dtype != query.dtype:
            raise ValueError(
                f"`{name}` must have the shape and the dtype of `query`, "
                f"{tuple(query.shape)} and {query.dtype}. "
                f"Received: {name}.shape={tuple(x.shape)}, "
                f"{name}.dtype={x.dtype}"
            )
    batch, heads, time, key_dim = query.shape
    if (
        relative.ndim != 3
        or relative.shape[0] < 1
        or relative.shape[1] not in (1, heads)
        or relative.shape[2] != key_dim
    ):
        raise ValueError(
            "`relative` must have the shape (max_distance, heads or 1, "
            f"key_dim), here (any, {heads} or 1, {key_dim}). "
            f"Received: relative.shape={tuple(relative.shape)}"
        )
    expected = (batch, time)
    if padding_mask is not None and tuple(padding_mask.shape) != expected:
        raise ValueError(
            "`padding_mask` must have the shape (batch, time), here "
            f"{expected}. "
            f"Received: padding_mask.shape={tuple(padding_mask.shape)}"
        )
