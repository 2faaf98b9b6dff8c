"""One batch over many devices, by `keras.distribution`: JAX alone has it.

Each device holds all weights and takes its share of the rows of a batch;
gradients are averaged. Several processes, on one machine or many, read the
same corpus, and each draws its own rows of the batch that one process would
have drawn: no event is seen twice, and the loss is one device's.
"""

import contextlib
import os

import keras

from keras_pianogen import devices

ADDRESSES = "KERAS_DISTRIBUTION_JOB_ADDRESSES"


class DataParallel:
    """All devices of all processes, for data parallel training.

    Where the environment says where the processes are, as Keras reads it
    (`KERAS_DISTRIBUTION_JOB_ADDRESSES`, `KERAS_DISTRIBUTION_NUM_PROCESSES`,
    `KERAS_DISTRIBUTION_PROCESS_ID`), they are joined first: this has to come
    before anything is computed.

    Attributes:
        leads: whether this process writes the run's folder.
        part: a pair, this process's index and the number of processes.

    Raises:
        ValueError: if the backend isn't JAX.
    """

    def __init__(self):
        if keras.config.backend() != "jax":
            raise ValueError(
                "Data parallel training needs the backend JAX, the only one "
                "that `keras.distribution` has it for. "
                f"Received: KERAS_BACKEND={keras.config.backend()}"
            )
        join_processes()
        self.part = devices.process()
        self.leads = self.part[0] == 0
        self.num_devices = keras.distribution.get_device_count()
        self._distribution = keras.distribution.DataParallel(
            auto_shard_dataset=False
        )

    def check(self, batch_size, minutes=None):
        """Refuse a batch that can't be shared out, or a clock of many."""
        if batch_size % self.num_devices:
            raise ValueError(
                "`batch_size` must be a multiple of the number of devices, "
                f"{self.num_devices}. Received: batch_size={batch_size}"
            )
        if minutes is not None and self.part[1] > 1:
            raise ValueError(
                "Several processes have several clocks: give `steps`. "
                f"Received: minutes={minutes}"
            )

    def scope(self):
        """A context in which models are spread, and trained so."""
        return self._distribution.scope()

    @staticmethod
    @contextlib.contextmanager
    def alone():
        """A context in which models stay on one device."""
        before = keras.distribution.distribution()
        keras.distribution.set_distribution(None)
        try:
            yield
        finally:
            keras.distribution.set_distribution(before)


def join_processes():
    """Join the processes that the environment names, unless that is done."""
    if os.environ.get(ADDRESSES) and not devices.processes_are_joined():
        # Keras would have them agree on a seed, with more communication.
        keras.utils.set_random_seed(0)
        keras.distribution.initialize()
