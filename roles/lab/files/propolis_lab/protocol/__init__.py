# SPDX-License-Identifier: GPL-3.0-or-later
"""The wire protocol between a Crucible upstairs and its downstairs, message version 13."""
