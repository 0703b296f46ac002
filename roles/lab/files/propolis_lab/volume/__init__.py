# SPDX-License-Identifier: GPL-3.0-or-later
"""A small tool for people: look at, read and write the volume that lies on three downstairs, real ones or stand-ins."""
