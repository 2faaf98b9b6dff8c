"""Training on one device, or with one batch over many devices.

Many devices are those of `keras.distribution`, which only JAX has. Each holds
all weights and takes its share of the rows of a batch; gradients are averaged.
Several processes, on one machine or many, read the same corpus, and each draws
its own rows of the batch that one process would have drawn: no event is seen
twice, and the loss is that of one device.
"""

import contextlib
import os

import keras

from keras_pianogen import devices

ADDRESSES = "KERAS_DISTRIBUTION_JOB_ADDRESSES"


class OneDevice:
    """The device that Keras uses, for training in one process.

    Its attributes and methods are those of `DataParallel`.
    """

    leads = True
    part = None
    num_processes = 1

    def check(self, batch_size, minutes=None):
        """Refuses nothing."""

    def scope(self):
        return contextlib.nullcontext()

    alone = scope

    def replica(self, build):
        """No second model: the one that is trained can be evaluated."""
        return None


class DataParallel:
    """All devices of all processes, for data parallel training.

    If the environment names the processes, as Keras reads it
    (`KERAS_DISTRIBUTION_JOB_ADDRESSES`, `KERAS_DISTRIBUTION_NUM_PROCESSES`,
    `KERAS_DISTRIBUTION_PROCESS_ID`), they are joined first. So this must come
    before anything is computed.

    Attributes:
        leads: whether this process writes the run's folder.
        part: a pair, this process's index and the number of processes.
        num_processes: the number of processes.

    Raises:
        ValueError: if the backend isn't JAX.
    """

    def __init__(self):
        if keras.config.backend() != "jax":
            raise ValueError(
                "Data parallel training needs the backend JAX, the only one "
                "for which `keras.distribution` has it. "
                f"Received: KERAS_BACKEND={keras.config.backend()}"
            )
        join_processes()
        self.part = devices.process()
        self.leads = self.part[0] == 0
        self.num_devices = keras.distribution.get_device_count()
        self._distribution = keras.distribution.DataParallel(
            auto_shard_dataset=False
        )

    @property
    def num_processes(self):
        return self.part[1]

    def check(self, batch_size, minutes=None):
        """Check that the devices can share the batch, and the length.

        Args:
            batch_size: int. Must be a multiple of the number of devices.
            minutes: float. The length by the clock, for one process only.
                Defaults to `None`, a length in steps.
        """
        if batch_size % self.num_devices:
            raise ValueError(
                "`batch_size` must be a multiple of the number of devices, "
                f"{self.num_devices}. Received: batch_size={batch_size}"
            )
        if minutes is not None and self.num_processes > 1:
            raise ValueError(
                "Several processes have several clocks: give `steps`. "
                f"Received: minutes={minutes}"
            )

    def scope(self):
        """A context in which new models are spread over the devices."""
        return self._distribution.scope()

    @staticmethod
    @contextlib.contextmanager
    def alone():
        """A context in which new models stay on one device."""
        before = keras.distribution.distribution()
        keras.distribution.set_distribution(None)
        try:
            yield
        finally:
            keras.distribution.set_distribution(before)

    def replica(self, build):
        """A second model, on one device of the leading process, or `None`.

        A batch of any size can be evaluated on it, while the number of
        devices must divide that of the model that is trained.

        Args:
            build: a function that returns the model.
        """
        if not self.leads:
            return None
        with self.alone():
            return build()


def join_processes():
    """Join the processes that the environment names, unless they are joined."""
    if os.environ.get(ADDRESSES) and not devices.processes_are_joined():
        # Without a seed Keras lets the processes agree on one, which needs
        # more communication.
        keras.utils.set_random_seed(0)
        keras.distribution.initialize()
