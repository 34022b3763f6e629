"""LSTM, GRU and plain recurrent layers: the recurrence again in batch, for the gates' gradients."""

from __future__ import annotations

from fisherscope.gram.rules import Rule, register
