"""Arguments of a model's constructor, for `get_config`."""

import inspect

# Keras returns `dtype`, and `name` and `trainable` of `kwargs`, itself.
KERAS_OWN = ("self", "dtype", "kwargs")


def arguments_of(model):
    """The arguments that a model was made with, from its attributes.

    Args:
        model: an object that keeps each argument of its `__init__`, except
            for `dtype` and `**kwargs`, in an attribute of the same name.

    Returns:
        A dict, in the order of the arguments.

    Examples:
        >>> class Model:
        ...     def __init__(self, width=8, dtype=None, **kwargs):
        ...         self.width = width
        >>> arguments_of(Model())
        {'width': 8}
    """
    names = inspect.signature(type(model).__init__).parameters
    return {
        name: getattr(model, name) for name in names if name not in KERAS_OWN
    }
