"""Programs that were written for other inference SDKs run on Tilewright as they are, without an edit:

    python -m tilewright.compat SCRIPT ARGUMENTS...

The script runs as ``python SCRIPT ARGUMENTS...`` would run it: the same ``sys.argv``, ``sys.path`` and ``__file__``,
the same exit code, the same traceback when it fails, Ctrl-C as usual. Options of Python itself go before ``-m``; ``-``
is a script on standard input. A module (``python -m``) is run by giving its file.

What it imports by the names below comes from Tilewright, wherever else such a module lies: beside the script, in a
folder that the script puts first on ``sys.path``, or installed. Nothing is imported before the script asks for it.
``openvino`` stays the package that is installed, with ``inference_engine`` added, and has nothing else where there is
none. ``ngraph``, with which programs of 2021 look into networks and build them, is not there: its import fails.

NumPy gets the names back that it dropped in 1.24, ``np.bool``, ``complex``, ``float``, ``int``, ``object`` and ``str``,
where they are gone.

Child processes of ``multiprocessing`` have all of this, too, however they are started. Other commands that the script
starts do not, and neither does anything outside its process.
"""
