"""Playing together: a pianist and a model take turns on one instrument."""

from keras_pianogen.duet.duet import Duet
from keras_pianogen.duet.turns import AtKey
from keras_pianogen.duet.turns import AtPedal
from keras_pianogen.duet.turns import AtSilence

__all__ = ["AtKey", "AtPedal", "AtSilence", "Duet"]
