"""The Accelerator API, in two generations: ``FWDNXT`` and ``MDLA``.

Arrays that come in and go out are float32 in C order, whatever the network computes with, and their shape does not
matter: the elements are those of one image of the network after the other, as many images as there are. Calls copy what
they are given. Several inputs are a tuple or a list; a multiple of them is a batch, the inputs of one image after those
of the other.

A batch is cards times clusters times images of a cluster, clusters counted once where they share an image
(``clustersbatchmode``, alias ``nobatch``), in which case the program is one of so many clusters if the machine has as
many. It says where images are computed and how long that takes; it neither limits how many are given nor changes a
number. A network that takes several images itself has as many of those of a cluster.

A size is accepted as it is when it has as many elements as the shape of the model. What the model leaves open it fills
in. With another batch the network computes the images one after the other, and for another height or width it is
compiled again, or an error names both. Of several sizes, one that its input cannot have at all is left aside with a
warning that names both, for programs have such and pass arrays that fit. ``Compile`` takes ONNX models; for ``nlayers``
and ``lremove`` a layer is a node that computes something of the inputs, other than copies and changes between floating
point and integers.

Files that ``Compile`` writes are artifacts, whatever they are called, and ``Init`` loads any. A bitfile is the name or
the path of the description of a machine; a program for another machine is refused with what differs. Each object takes
the next of the virtual cards when it loads a network, or shares those of another.

Errors are of `AcceleratorError`: the first argument and ``code`` are the documented return code, or the documented
text, and the text says what happened and what to do.
"""

from .device import Accelerator
from .errors import AcceleratorError
from .second import FWDNXT
from .third import MDLA

__all__ = ["FWDNXT", "MDLA", "Accelerator", "AcceleratorError"]
