"""The classification application: a folder of images to classes, with decoding, transfers and inference at once.

``tilewright classify --xclbin FILE.twa --img_path PATH`` lists the regular files of a folder, in the order in which the
system does, decodes them by ``--preprocess_workers`` threads, hands them to the engine in batches of ``--max_bs``, and
tells the five best classes of each, best first and of equal ones the lower first. Three batches are under way at any
time: one is filled, one computed, and of one the results are read. Neither the batch nor the number of threads changes
a prediction, and rows stand in the order of the files. ``tilewright power`` calls a network with synthetic images.

The network is an artifact with one input that images fit, and a number for each class as output. How images become
inputs is what the artifact remembers of calibration or of ``--preprocess`` when it was compiled; another way, by
``--preprocess`` or ``TILEWRIGHT_PREPROCESS``, is refused unless ``--force-preprocess`` is given. Of an artifact that
remembers none it is what these say, otherwise images are stretched, their channels ordered blue, green, red, their
pixels 0 to 255. Of an artifact of several shapes, the batch chooses the one to compute in: that of the most images that
is not above it, of those for images of the first one's size. The other interfaces take the first shape of such an
artifact. A network of 1001 outputs has one for the background before those of the classes, unless
``--label-offset`` says otherwise. Notes on stderr say what was assumed.

``--fcweights`` names a text of comma separated integers, class by class, which replace those of the last layer with
weights. Its scales and biases stay; what follows from the integers is computed anew, which takes the compiler. They are
-128 to 127, or 0 to 255 where the network stores unsigned ones. A number of them that does not fit is an error that
names the right one; with the network's own integers nothing changes.

``--labels`` names a text with the name of a file, a space, and the number of its class on each line. Images without a
label do not count for the accuracy.

Original: an image that cannot be read, an empty folder, labels of which none fits or an exception in a thread ended the
program of ResNet50-PYNQ with a traceback or never; here such images are skipped and named, labels of which none fits
are a warning, and everything else is an error with the exit code 1. ``--fcweights`` was required; it need not be given.
Nothing is installed for the table: it is printed in full, and written as pandas did. Texts, columns and files are the
same.
"""
