# SPDX-License-Identifier: GPL-3.0-or-later
"""What the process that the lab's programs are forked from has loaded (see ``lab_programs``): all of the lab."""

import gc
import importlib
import pkgutil
import sys

import propolis_lab

for _module in pkgutil.walk_packages(propolis_lab.__path__, "propolis_lab."):
    if not _module.name.endswith(".__main__"):
        importlib.import_module(_module.name)
importlib.import_module("propolis_lab.server.__main__")
del sys.modules["propolis_lab.server.__main__"]  # it is to be run, as if for the first time
gc.freeze()
